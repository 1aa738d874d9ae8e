"""Optimizers whose cost per step depends on the rows of the batch, not on the size of the table."""

from tfrs_twotower.training.optimizers.build import build
from tfrs_twotower.training.optimizers.config import (
    ConstantRate,
    LazyAdamConfig,
    RowWiseAdagradConfig,
    WarmupCosine,
)
from tfrs_twotower.training.optimizers.lazy_adam import LazyAdam
from tfrs_twotower.training.optimizers.rowwise_adagrad import RowWiseAdagrad

__all__ = [
    "ConstantRate",
    "LazyAdam",
    "LazyAdamConfig",
    "RowWiseAdagrad",
    "RowWiseAdagradConfig",
    "WarmupCosine",
    "build",
]
