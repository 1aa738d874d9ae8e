"""Training: examples, `model.fit` with exact resume, optimizers that touch only the batch's rows."""

from tfrs_twotower.training.adapting import adapt, load_fields
from tfrs_twotower.training.batches import TrainingBatches
from tfrs_twotower.training.config import TrainingConfig
from tfrs_twotower.training.distribution import (
    WorkerShare,
    chief_array,
    is_chief,
    of_chief,
    strategy,
    without_strategy,
    worker,
)
from tfrs_twotower.training.epoch_lines import epochs_of
from tfrs_twotower.training.examples import Examples
from tfrs_twotower.training.explicit import ExplicitNegatives, shown_before
from tfrs_twotower.training.fit import TENSORBOARD, FitReport, fit, restore_best
from tfrs_twotower.training.item_start import CoVisits, start_items
from tfrs_twotower.training.item_statistics import ItemStatistics
from tfrs_twotower.training.neighbours import NeighbourFit, pooled
from tfrs_twotower.training.optimizers import LazyAdamConfig, RowWiseAdagradConfig
from tfrs_twotower.training.parameter_servers import is_server, serve
from tfrs_twotower.training.positives import EventWeights, Resampling, event_weights, shown_counts
from tfrs_twotower.training.precision import computing_in
from tfrs_twotower.training.sequences import SequenceBatches
from tfrs_twotower.training.warm_start import warm_start

__all__ = [
    "CoVisits",
    "EventWeights",
    "Examples",
    "ExplicitNegatives",
    "FitReport",
    "ItemStatistics",
    "LazyAdamConfig",
    "NeighbourFit",
    "Resampling",
    "RowWiseAdagradConfig",
    "SequenceBatches",
    "TENSORBOARD",
    "TrainingBatches",
    "TrainingConfig",
    "WorkerShare",
    "adapt",
    "chief_array",
    "computing_in",
    "epochs_of",
    "event_weights",
    "fit",
    "is_chief",
    "is_server",
    "load_fields",
    "of_chief",
    "pooled",
    "restore_best",
    "serve",
    "shown_before",
    "shown_counts",
    "start_items",
    "strategy",
    "warm_start",
    "without_strategy",
    "worker",
]
