"""Dropout whose randomness is part of a checkpoint."""

import tensorflow as tf


class Dropout(tf.keras.layers.Layer):
    """In training sets a share of the values to 0 and scales the others by 1 / (1 − rate).

    Keras's own layer draws from a state that a checkpoint does not hold. With it, a resumed run would differ
    from an uninterrupted one.

    Args:
      rate: the share, in [0, 1).
      seed: of this layer's own `tf.random.Generator`.
    """

    def __init__(self, rate: float, seed: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.rate = rate
        self._generator = tf.random.Generator.from_seed(seed, alg="philox")

    def call(self, values: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or not self.rate:
            return values
        kept = self._generator.uniform(tf.shape(values)) >= self.rate
        return tf.where(kept, values / (1.0 - self.rate), 0.0)
