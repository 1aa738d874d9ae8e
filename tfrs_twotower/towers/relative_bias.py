"""The bias of attention scores by the distance of two events, in positions and in time."""

from collections.abc import Callable

import tensorflow as tf

from tfrs_twotower.features import SequenceEmbedding
from tfrs_twotower.towers.sequence import GAPS, log_bucket


def time_buckets(sequence: SequenceEmbedding) -> tf.Tensor:
    """int32 [batch, length, length]: the log bucket of the time from event j to the prediction at position i."""
    return log_bucket(sequence.age[:, tf.newaxis, :] - sequence.asked[:, :, tf.newaxis])


class RelativeBias(tf.keras.layers.Layer):
    """One learned number per head for each distance in positions, and one for each log bucket of time.

    Reference: Shaw et al. 2018 and Raffel et al. 2020 (positions); Zhai et al. 2024 (time).

    Args:
      heads: heads of the attention.
      distances: how many distances have a number of their own; longer ones share the last.
      time: whether there is a bias by time.
    """

    def __init__(self, heads: int, distances: int, time: bool, name: str = "bias") -> None:
        super().__init__(name=name)
        self._position = self.add_weight("position", (heads, distances), initializer="zeros")
        self._time = self.add_weight("time", (heads, GAPS), initializer="zeros") if time else None
        self._distances = distances

    def call(self, length: tf.Tensor, buckets: tf.Tensor) -> tf.Tensor:
        """[1 or batch, heads, length, length], for positions i (of the prediction) and j (attended to).

        Args:
          length: of the sequences.
          buckets: the result of `time_buckets`; not read without a bias by time.
        """
        place = tf.range(length)
        apart = tf.clip_by_value(place[:, tf.newaxis] - place[tf.newaxis, :], 0, self._distances - 1)
        bias = tf.gather(self._position, apart, axis=1)[tf.newaxis]
        if self._time is None:
            return bias
        heads = [_lookup(table, buckets)[:, tf.newaxis] for table in tf.unstack(self._time)]
        return bias + (heads[0] if len(heads) == 1 else tf.concat(heads, axis=1))


@tf.custom_gradient
def _lookup(
    table: tf.Tensor, index: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None]]]:
    """`table` [n] at `index` [batch, ...]. Its own gradient: TensorFlow's takes eight times as long on a CPU."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        batch = tf.shape(index)[0]
        sums = tf.raw_ops.DenseBincount(
            input=tf.reshape(index, [batch, -1]), size=tf.shape(table)[0], weights=tf.reshape(upstream, [batch, -1])
        )
        return tf.reduce_sum(sums, axis=0), None

    return tf.gather(table, index), gradient


def causal(length: tf.Tensor) -> tf.Tensor:
    """float32 [length, length]: 1 where position i may attend to position j, that is j ≤ i."""
    return tf.linalg.band_part(tf.ones([length, length]), -1, 0)
