"""Optimizers and learning-rate schedules as configuration."""

from typing import Annotated

from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import AtLeast, Below, NotNegative, Positive, Share


@config
class ConstantRate:
    """A constant learning rate."""


@config
class WarmupCosine:
    """Linear warm-up to the learning rate, then a cosine down to `final` times it at the last step.

    Attributes:
      warmup: the share of the warm-up in all steps, in [0, 1).
      final: the share of the learning rate that is left at the end, in [0, 1].
    """

    warmup: Annotated[float, AtLeast(0), Below(1)] = 0.05
    final: Share = 0.0


@config
class LazyAdamConfig:
    """Adam that touches only the embedding rows of the batch.

    Attributes:
      learning_rate: the step size; with a schedule, the highest one.
      schedule: `ConstantRate` or `WarmupCosine`.
      beta_1, beta_2, epsilon: as in Adam.
      weight_decay: decoupled; in embedding tables it changes only the rows of the batch. 0 is none.
      global_clipnorm: the largest norm of all gradients together; None does not clip.
    """

    learning_rate: Positive = 0.001
    schedule: ConstantRate | WarmupCosine = ConstantRate()
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: Annotated[NotNegative, "0 is no decay."] = 0.0
    global_clipnorm: Annotated[Positive | None, "None does not clip."] = None


@config
class RowWiseAdagradConfig:
    """Adagrad with one accumulator per embedding row: the least state for a large table.

    Attributes:
      learning_rate, schedule, weight_decay, global_clipnorm: as in `LazyAdamConfig`.
      initial_accumulator_value: start of the sums of squared gradients; it makes the first steps smaller.
      epsilon: added to the sum, under the root.
    """

    learning_rate: Positive = 0.05
    schedule: ConstantRate | WarmupCosine = ConstantRate()
    initial_accumulator_value: float = 0.0
    epsilon: float = 1e-10
    weight_decay: Annotated[NotNegative, "0 is no decay."] = 0.0
    global_clipnorm: Annotated[Positive | None, "None does not clip."] = None
