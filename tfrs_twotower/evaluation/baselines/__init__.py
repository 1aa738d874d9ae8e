"""Baselines that every model has to beat, one file each; `Baselines` fits and tunes them all."""

from tfrs_twotower.evaluation.baselines.baselines import Baselines
from tfrs_twotower.evaluation.baselines.bought_before import BoughtBefore
from tfrs_twotower.evaluation.baselines.ease import EASE
from tfrs_twotower.evaluation.baselines.events import (
    HISTORIES,
    TrainingEvents,
    history_matrix,
    item_counts,
    recent_counts,
)
from tfrs_twotower.evaluation.baselines.ials import IALS
from tfrs_twotower.evaluation.baselines.item_knn import ItemKNN
from tfrs_twotower.evaluation.baselines.popularity import Popularity

__all__ = [
    "BoughtBefore",
    "Baselines",
    "EASE",
    "HISTORIES",
    "IALS",
    "ItemKNN",
    "Popularity",
    "TrainingEvents",
    "history_matrix",
    "item_counts",
    "recent_counts",
]
