"""The temperature τ of the score ⟨u, v⟩ / τ: fixed, scheduled, or learned within bounds."""

import math

import tensorflow as tf

from tfrs_twotower.config import at_least, config
from tfrs_twotower.errors import ConfigError, invalid


@config
class FixedTemperature:
    """τ stays at `value` (above 0)."""

    value: float = 0.05

    def __post_init__(self):
        if not self.value > 0:
            rule = "be above 0"
            raise ConfigError(invalid("FixedTemperature.value", rule, self.value, "0.05 suits unit vectors."))


@config
class ScheduledTemperature:
    """τ goes from `start` to `end` (both above 0) in `steps` training steps, by the same factor in each, and stays."""

    start: float = 0.2
    end: float = 0.05
    steps: int = 1000

    def __post_init__(self):
        at_least(1, self, "steps")
        if not (self.start > 0 and self.end > 0):
            received, way_out = (self.start, self.end), "0.2 and 0.05 suit unit vectors."
            raise ConfigError(invalid("ScheduledTemperature.start and .end", "be above 0", received, way_out))


@config
class LearnedTemperature:
    """τ starts at `initial` and is learned between `low` and `high` (0 < low < initial < high)."""

    initial: float = 0.05
    low: float = 0.01
    high: float = 1.0

    def __post_init__(self):
        if not 0 < self.low < self.initial < self.high:
            raise ConfigError(
                invalid(
                    "LearnedTemperature.initial",
                    f"lie strictly between low={self.low} and high={self.high}, all above 0",
                    self.initial, "Widen the bounds or start within them.",
                )
            )


class Temperature(tf.keras.layers.Layer):
    """Holds τ; `value()` gives it, and `advance()` takes a schedule one step on.

    Scheduled: log τ goes in a straight line; the step is a weight, so that a resumed training goes on where it was.
    Learned: log τ = log low + (log high − log low) · σ(x) with one weight x, so that τ never leaves its
    bounds and, unlike with clipping, always has a gradient.
    """

    def __init__(self, config, name=None):
        """Args: config: FixedTemperature, ScheduledTemperature or LearnedTemperature."""
        super().__init__(name=name, dtype="float32")
        self._config = config
        if isinstance(config, ScheduledTemperature):
            self._step = tf.Variable(0, trainable=False, dtype=tf.int64, name="step")
        if isinstance(config, LearnedTemperature):
            share = _share(config)
            self._x = self.add_weight(
                name="log_temperature",
                shape=[],
                initializer=tf.keras.initializers.Constant(math.log(share / (1 - share))),
            )

    def value(self):
        """τ, float32 scalar."""
        if isinstance(self._config, FixedTemperature):
            return tf.constant(self._config.value, tf.float32)
        if isinstance(self._config, ScheduledTemperature):
            start, end = math.log(self._config.start), math.log(self._config.end)
            done = tf.minimum(tf.cast(self._step, tf.float32) / self._config.steps, 1.0)
            return tf.exp(start + (end - start) * done)
        low, high = math.log(self._config.low), math.log(self._config.high)
        return tf.exp(low + (high - low) * tf.sigmoid(self._x))

    def advance(self):
        """A training step has used τ."""
        if isinstance(self._config, ScheduledTemperature):
            self._step.assign_add(1)


def _share(bounds):
    """Where the start lies between the bounds, on the log scale, in (0, 1)."""
    return math.log(bounds.initial / bounds.low) / math.log(bounds.high / bounds.low)
