"""Sampling: how often a candidate is expected in a batch, and which candidates are no negatives."""

from tfrs_twotower.sampling.config import NoLogQ, StaticLogQ, StreamingLogQ
from tfrs_twotower.sampling.logq import NoCorrection, StaticCorrection, build_logq
from tfrs_twotower.sampling.masks import same_item, user_positives
from tfrs_twotower.sampling.streaming import StreamingCorrection

__all__ = [
    "NoCorrection",
    "NoLogQ",
    "StaticCorrection",
    "StaticLogQ",
    "StreamingCorrection",
    "StreamingLogQ",
    "build_logq",
    "same_item",
    "user_positives",
]
