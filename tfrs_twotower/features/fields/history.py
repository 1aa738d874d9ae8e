"""The items of the user's history, pooled; they share the candidate's table."""

import math
from collections.abc import Mapping

import tensorflow as tf

from tfrs_twotower.configuration import layer_of
from tfrs_twotower.features.fields.id import IdField
from tfrs_twotower.features.fields.past import AgedField, newest
from tfrs_twotower.features.fields.pooling import pool_mean, pool_softmax
from tfrs_twotower.features.past import History


@layer_of(History)
class HistoryField(AgedField):
    """Field of `schema.History`.

    Encoded: see `AgedField`.
    """

    feature: History

    def __init__(self, feature: History, items: IdField, seed: int = 0) -> None:
        super().__init__(feature, items, seed)
        self._generator = tf.random.Generator.from_seed(self.seed, alg="philox")

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        if self.feature.learned:
            start = tf.keras.initializers.Constant(math.log(math.log(2.0) / self.feature.half_life_days))
            self._log_decay = self.add_weight("log_decay", (), initializer=start)
        super().build(input_shape)

    def encode_rows(
        self, item_index: tf.Tensor, history_timestamp: tf.Tensor, timestamp: tf.Tensor,
        codes: Mapping[str, tf.Tensor] = {},
    ) -> dict[str, tf.Tensor]:
        if not self.feature.merge:
            return super().encode_rows(item_index, history_timestamp, timestamp, codes)
        index = self.merged(item_index)
        past = [(index, -1), (history_timestamp, 0), *((values, 0) for values in codes.values())]
        index, times, *found = newest(past, index < 0, self.length, whole=True)
        return self.encode_window(index, times, timestamp, dict(zip(codes, found)))

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        index = encoded["index"]
        if training and self.feature.dropout:
            drawn = self._generator.uniform([tf.shape(index)[0], 1])
            index = tf.where(drawn < self.feature.dropout, -1, index)
        if training and self.feature.cut:
            index = self._cut(index)
        places, vectors = self.events(encoded, index)
        if self.feature.pooling == "mean":
            return pool_mean(vectors, places, tf.shape(index)[0])
        scores = -self.decay() * tf.gather_nd(encoded["age"], places)
        return pool_softmax(vectors, places, tf.shape(index)[0], scores)

    def shares(self, encoded: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """What each event adds to `call`: [batch, any, dim] from `encoded`. The sum over the events is `call`'s result.
        """
        index, age = encoded["index"], encoded["age"]
        there = index >= 0
        scores = tf.zeros_like(age) if self.feature.pooling == "mean" else -self.decay() * age
        weights = tf.where(there, tf.nn.softmax(tf.where(there, scores, scores.dtype.min)), 0.0)
        places, vectors = self.events(encoded, index)
        rows = tf.scatter_nd(places, tf.cast(vectors, tf.float32), [*tf.unstack(tf.shape(index)), vectors.shape[-1]])
        return weights[..., tf.newaxis] * rows

    def _cut(self, index: tf.Tensor) -> tf.Tensor:
        """Cuts the newest events off a share of the rows: of n events the first 0 to n − 1 stay, equally likely."""
        count = tf.math.count_nonzero(index >= 0, axis=1, keepdims=True, dtype=tf.float32)
        drawn = self._generator.uniform([tf.shape(index)[0], 2])
        kept = tf.where(drawn[:, :1] < self.feature.cut, tf.floor(drawn[:, 1:] * count), count)
        return tf.where(tf.range(tf.shape(index)[1], dtype=tf.float32) < kept, index, -1)

    def decay(self) -> tf.Tensor | float:
        """λ of e^{−λΔt}, per day."""
        if self.feature.learned:
            return tf.exp(self._log_decay)
        return math.log(2.0) / self.feature.half_life_days
