"""Training: examples, `model.fit` with exact resume, optimizers that touch only the batch's rows."""

from tfrs_twotower.training.config import TrainingConfig
from tfrs_twotower.training.examples import Examples, TrainingBatches
from tfrs_twotower.training.fit import FitReport, fit, restore_best
from tfrs_twotower.training.optimizers import LazyAdamConfig, RowWiseAdagradConfig

__all__ = [
    "Examples",
    "FitReport",
    "LazyAdamConfig",
    "RowWiseAdagradConfig",
    "TrainingBatches",
    "TrainingConfig",
    "fit",
    "restore_best",
]
