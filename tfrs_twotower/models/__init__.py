"""The retrieval model, its task and its objective."""

from tfrs_twotower.models.alignment import ContentAlignment
from tfrs_twotower.models.auxiliary import AuxiliaryLoss
from tfrs_twotower.models.category_alignment import CategoryAlignment
from tfrs_twotower.models.distillation import Distillation
from tfrs_twotower.models.ensemble import EnsembleObjective
from tfrs_twotower.models.event_heads import EventHeads, heads_of
from tfrs_twotower.models.few_shot import FewShot, Reptile, means
from tfrs_twotower.models.mimic import Mimic
from tfrs_twotower.models.multi_interest import MultiInterestTwoTower
from tfrs_twotower.models.neighbours import Neighbours, NeighbourVectors
from tfrs_twotower.models.objectives import CatalogueObjective, ItemFeatures, Positives, SampledObjective
from tfrs_twotower.models.repeats import Repeated, Repeats, repeated
from tfrs_twotower.models.retrieval import Retrieval
from tfrs_twotower.models.score_weights import ScoreWeights, clearly_better, climbed, middle
from tfrs_twotower.models.self_supervision import SelfSupervision
from tfrs_twotower.models.sequence_model import SequenceTwoTower
from tfrs_twotower.models.temperature import (
    FixedTemperature,
    LearnedTemperature,
    ScheduledTemperature,
    Temperature,
    build_temperature,
)
from tfrs_twotower.models.two_tower import TwoTowerModel

__all__ = [
    "AuxiliaryLoss",
    "CatalogueObjective",
    "CategoryAlignment",
    "ContentAlignment",
    "Distillation",
    "EnsembleObjective",
    "EventHeads",
    "FewShot",
    "FixedTemperature",
    "ItemFeatures",
    "LearnedTemperature",
    "Mimic",
    "MultiInterestTwoTower",
    "NeighbourVectors",
    "Neighbours",
    "Positives",
    "Repeated",
    "Repeats",
    "Reptile",
    "Retrieval",
    "SampledObjective",
    "ScheduledTemperature",
    "ScoreWeights",
    "SelfSupervision",
    "SequenceTwoTower",
    "Temperature",
    "TwoTowerModel",
    "build_temperature",
    "clearly_better",
    "climbed",
    "heads_of",
    "means",
    "middle",
    "repeated",
]
