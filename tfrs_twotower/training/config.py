"""How a model is trained."""

from typing import Annotated, Literal

from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import AtLeast, Below, Count, Natural
from tfrs_twotower.training.optimizers import LazyAdamConfig, RowWiseAdagradConfig
from tfrs_twotower.training.positives import EventWeights, Resampling


@config
class TrainingConfig:
    """Batches, epochs, optimizer, early stopping, checkpoints.

    Attributes:
      batch_size: rows of a batch; each row's positive is a negative of the others. If there are fewer training
        rows, it is lowered to their number.
      epochs: the largest number of passes over the training rows.
      optimizer: `LazyAdamConfig` or `RowWiseAdagradConfig`; both touch only the embedding rows of the batch.
      monitor: the validation metric that decides which epoch is kept, e.g. "ndcg@10".
      patience: stop after this number of epochs without a better `monitor`; 0 runs all epochs and keeps the best.
      average: a running average of the weights is evaluated and kept. In each step it keeps this share of itself: 0.998
        averages over about five hundred steps. 0 averages nothing.
      known_positives: the number of the user's latest training items that are masked as negatives, at most.
      shuffle_buffer: rows that are shuffled at a time.
      order: "shuffled", or "time": the batches of an epoch come in the order of the log, as from a stream. Rows
        are then shuffled within windows of `shuffle_buffer` rows, so make it a few batches; 1 shuffles nothing.
      events: the weight of an event as a positive.
      resampling: how often an epoch shows an event; None shows each once.
      checkpoint_steps: steps between two checkpoints, besides the one of each epoch.
      precision: of the towers' arithmetic. Weights, vectors, scores and loss are float32 always. Measure
        16 bits on your hardware first (`python -m bench.bench_precision`). With float16 the loss is scaled.
      refit: whether `twotower train` and `twotower update` train once more, on the held-out events too, before they
        export (`Recommender.refit`).
      xla: whether XLA compiles the dense part of a step: encoders and loss.
      seed: of the weights, the order of the rows, dropout and ID dropout; from 0 to 2³² − 1.
    """

    batch_size: Count = 1024
    epochs: Count = 20
    optimizer: LazyAdamConfig | RowWiseAdagradConfig = LazyAdamConfig()
    monitor: str = "ndcg@10"
    patience: Natural = 3
    average: Annotated[float, AtLeast(0), Below(1), "0 averages nothing."] = 0.0
    known_positives: Natural = 100
    shuffle_buffer: Count = 1_000_000
    order: Literal["shuffled", "time"] = "shuffled"
    events: EventWeights = EventWeights()
    resampling: Resampling | None = None
    checkpoint_steps: Count = 1000
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    refit: bool = True
    xla: bool = False
    seed: Annotated[int, AtLeast(0), Below(2**32)] = 0
