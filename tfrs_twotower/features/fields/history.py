"""The items of the user's history, pooled; they share the candidate's table."""

import math
from collections.abc import Mapping

import tensorflow as tf

from tfrs_twotower.configuration import layer_of
from tfrs_twotower.features.fields.id import IdField
from tfrs_twotower.features.fields.past import PastField
from tfrs_twotower.features.fields.pooling import gather_present, pool_mean, pool_softmax
from tfrs_twotower.features.past import History

_DAY = 86400.0


@layer_of(History)
class HistoryField(PastField):
    """Field of `schema.History`.

    Encoded: {"index": int32 [batch, any], rows of the items' table, 0 for an unknown item and −1 for
    no event; "age": float32 [batch, any], days from the event to the request}.
    """

    feature: History

    def __init__(self, feature: History, items: IdField, seed: int = 0) -> None:
        super().__init__(feature, items, seed)
        self._generator = tf.random.Generator.from_seed(self.seed, alg="philox")

    def encode_rows(
        self, item_index: tf.Tensor, history_timestamp: tf.Tensor, timestamp: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        # Only the newest `length` events count, so each row starts where these start.
        events = tf.range(1, tf.shape(item_index)[1] + 1) * tf.cast(item_index >= 0, tf.int32)
        count = tf.reduce_max(tf.pad(events, [[0, 0], [1, 0]]), axis=1, keepdims=True)
        place = tf.maximum(count - self.length, 0) + tf.range(self.length)
        there = place < count
        place = tf.where(there, place, 0)
        index = tf.where(there, _gather(item_index, place, -1), -1)
        return self.encode_window(index, _gather(history_timestamp, place, 0), timestamp)

    def encode_window(
        self, item_index: tf.Tensor, history_timestamp: tf.Tensor, timestamp: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        times = tf.where(item_index >= 0, history_timestamp, 0)
        now = tf.where(timestamp > 0, timestamp, tf.reduce_max(times, axis=1))
        age = tf.cast(tf.maximum(now[:, tf.newaxis] - times, 0), tf.float32) / _DAY
        return {"index": item_index, "age": tf.where(times > 0, age, 0.0)}

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        if self.feature.learned:
            start = tf.keras.initializers.Constant(math.log(math.log(2.0) / self.feature.half_life_days))
            self._log_decay = self.add_weight("log_decay", (), initializer=start)
        super().build(input_shape)

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        index = encoded["index"]
        if training and self.feature.dropout:
            drawn = self._generator.uniform([tf.shape(index)[0], 1])
            index = tf.where(drawn < self.feature.dropout, -1, index)
        if training and self.feature.cut:
            index = self._cut(index)
        places, vectors = gather_present(self.items.embedding, index)
        if self.feature.pooling == "mean":
            return pool_mean(vectors, places, tf.shape(index)[0])
        scores = -self.decay() * tf.gather_nd(encoded["age"], places)
        return pool_softmax(vectors, places, tf.shape(index)[0], scores)

    def events(self, encoded: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """What each event adds to `call`: [batch, any, dim] from `encoded`. The sum over the events is `call`'s result.
        """
        index = encoded["index"]
        there = index >= 0
        scores = tf.zeros_like(encoded["age"]) if self.feature.pooling == "mean" else -self.decay() * encoded["age"]
        weights = tf.where(there, tf.nn.softmax(tf.where(there, scores, scores.dtype.min)), 0.0)
        return weights[..., tf.newaxis] * tf.cast(self.items.embedding(tf.maximum(index, 0)), tf.float32)

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


def _gather(values: tf.Tensor, place: tf.Tensor, missing: int) -> tf.Tensor:
    """`values` [batch, any] at the positions `place` [batch, length], also if a row has no values."""
    values = tf.pad(values, [[0, 0], [0, 1]], constant_values=missing)
    return tf.gather(values, place, batch_dims=1)
