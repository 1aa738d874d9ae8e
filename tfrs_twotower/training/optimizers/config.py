"""Optimizers and learning-rate schedules as configuration."""

from tfrs_twotower.configuration import config
from tfrs_twotower.errors import ConfigError, invalid


@config
class ConstantRate:
    """The learning rate stays as it is."""


@config
class WarmupCosine:
    """Linear warm-up to the learning rate, then a cosine down to `final` times it at the last step.

    Attributes:
      warmup: the part of all steps that the warm-up takes, in [0, 1).
      final: the part of the learning rate that is left at the end, in [0, 1].
    """

    warmup: float = 0.05
    final: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise ConfigError(invalid("warmup", "be at least 0 and below 1", self.warmup, "0.05 is usual."))
        if not 0 <= self.final <= 1:
            raise ConfigError(invalid("final", "lie between 0 and 1", self.final, "0 is usual."))


@config
class LazyAdamConfig:
    """Adam that touches only the embedding rows of the batch.

    Attributes:
      learning_rate: the step size; the highest one where a schedule changes it.
      schedule: `ConstantRate` or `WarmupCosine`.
      beta_1, beta_2, epsilon: as in Adam.
      weight_decay: decoupled; for embedding tables it meets the touched rows alone. 0 is none.
      global_clipnorm: longest norm of all gradients together; None does not clip.
    """

    learning_rate: float = 0.001
    schedule: ConstantRate | WarmupCosine = ConstantRate()
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float = 0.0
    global_clipnorm: float | None = None

    def __post_init__(self) -> None:
        _check(self)


@config
class RowWiseAdagradConfig:
    """Adagrad with one accumulator per embedding row: the least state for a large table.

    Attributes:
      learning_rate, schedule, weight_decay, global_clipnorm: as in `LazyAdamConfig`.
      initial_accumulator_value: start of the sums of squared gradients; holds back the first steps.
      epsilon: is added to the sum, under the root.
    """

    learning_rate: float = 0.05
    schedule: ConstantRate | WarmupCosine = ConstantRate()
    initial_accumulator_value: float = 0.0
    epsilon: float = 1e-10
    weight_decay: float = 0.0
    global_clipnorm: float | None = None

    def __post_init__(self) -> None:
        _check(self)


def _check(optimizer: LazyAdamConfig | RowWiseAdagradConfig) -> None:
    if not optimizer.learning_rate > 0:
        raise ConfigError(
            invalid("learning_rate", "be above 0", optimizer.learning_rate, "Start from the class's default.")
        )
    if optimizer.weight_decay < 0:
        raise ConfigError(invalid("weight_decay", "be at least 0", optimizer.weight_decay, "0 is no decay."))
    if optimizer.global_clipnorm is not None and not optimizer.global_clipnorm > 0:
        raise ConfigError(
            invalid("global_clipnorm", "be above 0 or None", optimizer.global_clipnorm, "None does not clip.")
        )
