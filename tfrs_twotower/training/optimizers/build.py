"""From an optimizer's configuration to the optimizer."""

from typing import Any

import tensorflow as tf

from tfrs_twotower.training.optimizers.config import ConstantRate, LazyAdamConfig, RowWiseAdagradConfig
from tfrs_twotower.training.optimizers.lazy_adam import LazyAdam
from tfrs_twotower.training.optimizers.rowwise_adagrad import RowWiseAdagrad


def build(config: LazyAdamConfig | RowWiseAdagradConfig, total_steps: int) -> LazyAdam | RowWiseAdagrad:
    """A Keras optimizer.

    Args:
      config: `LazyAdamConfig` or `RowWiseAdagradConfig`.
      total_steps: steps of the whole training, over which a schedule runs.
    """
    common: dict[str, Any] = {
        "learning_rate": _learning_rate(config, total_steps),
        "epsilon": config.epsilon,
        "weight_decay": config.weight_decay or None,
        "global_clipnorm": config.global_clipnorm,
    }
    if isinstance(config, LazyAdamConfig):
        return LazyAdam(beta_1=config.beta_1, beta_2=config.beta_2, **common)
    return RowWiseAdagrad(initial_accumulator_value=config.initial_accumulator_value, **common)


def _learning_rate(
    config: LazyAdamConfig | RowWiseAdagradConfig, total_steps: int
) -> float | tf.keras.optimizers.schedules.LearningRateSchedule:
    """A number, or a Keras schedule."""
    peak, schedule = config.learning_rate, config.schedule
    if isinstance(schedule, ConstantRate):
        return peak
    warmup = round(schedule.warmup * total_steps)
    cosine = max(total_steps - warmup, 1)
    if not warmup:
        return tf.keras.optimizers.schedules.CosineDecay(peak, cosine, alpha=schedule.final)
    # From peak / warmup, not from 0: the first step should move something.
    return tf.keras.optimizers.schedules.CosineDecay(
        peak / warmup, cosine, alpha=schedule.final, warmup_target=peak, warmup_steps=warmup
    )
