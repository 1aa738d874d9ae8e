"""Losses: pure functions on [batch, candidates] scores, and the configuration that chooses one."""

from tfrs_twotower.losses.binary_cross_entropy import BinaryCrossEntropy, binary_cross_entropy
from tfrs_twotower.losses.distillation import distillation
from tfrs_twotower.losses.full_softmax import FullSoftmax, full_softmax
from tfrs_twotower.losses.loss import Loss
from tfrs_twotower.losses.pairwise import BPR, TripletHinge, TripletLogistic, bpr, triplet_hinge, triplet_logistic
from tfrs_twotower.losses.refined_sampled_softmax import RefinedSampledSoftmax, refined_sampled_softmax
from tfrs_twotower.losses.sampled_softmax import SampledSoftmax, sampled_softmax
from tfrs_twotower.losses.softmax_blocks import softmax_in_blocks

__all__ = [
    "BPR",
    "BinaryCrossEntropy",
    "FullSoftmax",
    "Loss",
    "RefinedSampledSoftmax",
    "SampledSoftmax",
    "TripletHinge",
    "TripletLogistic",
    "binary_cross_entropy",
    "bpr",
    "distillation",
    "full_softmax",
    "refined_sampled_softmax",
    "sampled_softmax",
    "softmax_in_blocks",
    "triplet_hinge",
    "triplet_logistic",
]
