"""Random numbers that are the same on all devices of a training."""

from collections.abc import Sequence

import tensorflow as tf


class Draws(tf.Module):
    """A source of seeds for TensorFlow's stateless random numbers: the seed, and the count of draws.

    A `tf.random.Generator` gives each device of a `tf.distribute` strategy its own numbers, which also depend on the
    number of devices. Numbers that a whole batch shares must not. A checkpoint holds the count of draws.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(name="draws")
        self._seed = seed
        self._count = tf.Variable(0, trainable=False, dtype=tf.int64, name="count")

    def uniform(
        self, shape: Sequence[int | tf.Tensor] | tf.Tensor, low: float, high: float | tf.Tensor, dtype: tf.DType
    ) -> tf.Tensor:
        """Numbers from `low` to below `high`, of `shape`; each call gives new ones."""
        self._count.assign_add(1)
        seed = tf.stack([tf.constant(self._seed, tf.int64), tf.identity(self._count)])
        return tf.random.stateless_uniform(shape, seed, low, high, dtype, alg="philox")
