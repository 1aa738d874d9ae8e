"""The temperature τ of the score ⟨u, v⟩ / τ: fixed, or learned within bounds."""

import math

import tensorflow as tf

from tfrs_twotower.config import config
from tfrs_twotower.errors import ConfigError, invalid


@config
class FixedTemperature:
    """τ stays at `value` (above 0)."""

    value: float = 0.05

    def __post_init__(self):
        if not self.value > 0:
            raise ConfigError(invalid("value", "be above 0", self.value, "0.05 suits unit vectors."))


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
                    "initial", f"lie strictly between low={self.low} and high={self.high}, all above 0",
                    self.initial, "Widen the bounds or start within them.",
                )
            )


class Temperature(tf.keras.layers.Layer):
    """Holds τ; `value()` gives it.

    Learned: log τ = log low + (log high − log low) · σ(x) with one weight x, so that τ never leaves its
    bounds and, unlike with clipping, always has a gradient.
    """

    def __init__(self, config, name=None):
        """Args: config: FixedTemperature or LearnedTemperature."""
        super().__init__(name=name, dtype="float32")
        self._config = config
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
        low, high = math.log(self._config.low), math.log(self._config.high)
        return tf.exp(low + (high - low) * tf.sigmoid(self._x))


def _share(bounds):
    """Where the start lies between the bounds, on the log scale, in (0, 1)."""
    return math.log(bounds.initial / bounds.low) / math.log(bounds.high / bounds.low)
