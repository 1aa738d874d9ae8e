"""The temperature τ of the score ⟨u, v⟩ / τ: fixed, scheduled, or learned within bounds."""

import math
from typing import Annotated

import tensorflow as tf

from tfrs_twotower.configuration import config
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.ranges import Count, Positive


@config
class FixedTemperature:
    """τ stays at `value` (above 0)."""

    value: Annotated[Positive, "0.05 suits unit vectors."] = 0.05


@config
class ScheduledTemperature:
    """τ goes from `start` to `end` (both above 0) in `steps` training steps, by the same factor in each, then stays."""

    start: Annotated[Positive, "0.2 and 0.05 suit unit vectors."] = 0.2
    end: Annotated[Positive, "0.2 and 0.05 suit unit vectors."] = 0.05
    steps: Count = 1000


@config
class LearnedTemperature:
    """τ starts at `initial` and is learned between `low` and `high` (0 < low < initial < high)."""

    initial: float = 0.05
    low: Positive = 0.01
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.initial < self.high:
            rule = f"lie strictly between low={self.low} and high={self.high}"
            way_out = "Widen the bounds or start within them."
            raise ConfigError(invalid("LearnedTemperature.initial", rule, self.initial, way_out))


class Temperature(tf.keras.layers.Layer):
    """Holds τ; `build_temperature` makes it from a configuration."""

    def __init__(self, config: FixedTemperature | ScheduledTemperature | LearnedTemperature) -> None:
        super().__init__(name="temperature", dtype="float32")
        self._config = config

    def value(self) -> tf.Tensor:
        """τ, float32 scalar."""
        raise NotImplementedError

    def advance(self) -> None:
        """Called after each training step."""
        return  # AutoGraph removes the docstring, and warns about an empty function


class _Fixed(Temperature):
    def value(self) -> tf.Tensor:
        return tf.constant(self._config.value, tf.float32)


class _Scheduled(Temperature):
    """log τ changes linearly. The step is a weight, so that a resumed training continues from it."""

    def __init__(self, config: ScheduledTemperature) -> None:
        super().__init__(config)
        self._step = tf.Variable(0, trainable=False, dtype=tf.int64, name="step")

    def value(self) -> tf.Tensor:
        start, end = math.log(self._config.start), math.log(self._config.end)
        done = tf.minimum(tf.cast(self._step, tf.float32) / self._config.steps, 1.0)
        return tf.exp(start + (end - start) * done)

    def advance(self) -> None:
        self._step.assign_add(1)


class _Learned(Temperature):
    """log τ = log low + (log high − log low) · σ(x) with one weight x.

    So τ never leaves its bounds and, unlike with clipping, always has a gradient.
    """

    def __init__(self, config: LearnedTemperature) -> None:
        super().__init__(config)
        self._low, self._high = math.log(config.low), math.log(config.high)
        share = (math.log(config.initial) - self._low) / (self._high - self._low)
        start = tf.keras.initializers.Constant(math.log(share / (1 - share)))
        self._x = self.add_weight(name="log_temperature", shape=[], initializer=start)

    def value(self) -> tf.Tensor:
        return tf.exp(self._low + (self._high - self._low) * tf.sigmoid(self._x))


_KINDS = {FixedTemperature: _Fixed, ScheduledTemperature: _Scheduled, LearnedTemperature: _Learned}


def build_temperature(config: FixedTemperature | ScheduledTemperature | LearnedTemperature) -> Temperature:
    """The `Temperature` of a `FixedTemperature`, `ScheduledTemperature` or `LearnedTemperature`."""
    return _KINDS[type(config)](config)
