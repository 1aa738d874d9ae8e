"""The items of the user's history as a sequence; they share the candidate's table."""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from tfrs_twotower.configuration import layer_of
from tfrs_twotower.features.fields.past import PastField, newest
from tfrs_twotower.features.past import Sequence


class SequenceEmbedding(NamedTuple):
    """The input of a sequence encoder: events, oldest first, then padding.

    Attributes:
      values: float32 [batch, length, dim], the items' vectors, with those of kinds, dwell times and categories added if
        `Sequence` reads them; zeros at padding.
      valid: bool [batch, length], False at padding.
      age: int32 [batch, length], seconds from the event to the request, or to the newest event if the request's
        time is not known.
      asked: int32 [batch, length], the same for the moment of each position's prediction: the time of the next event,
        and at the last position the time of the request. If the request's time is not known, it is the event's own
        time.
    """

    values: tf.Tensor
    valid: tf.Tensor
    age: tf.Tensor
    asked: tf.Tensor


@layer_of(Sequence)
class SequenceField(PastField):
    """Field of `schema.Sequence`; its `call` returns a `SequenceEmbedding`, not [batch, dim].

    Encoded: {"index": int32 [batch, width], rows of the items' table, 0 for an unknown item and −1 for no
    event; "age": int32 [batch, width], as in `SequenceEmbedding`; "event", "dwell": int32 [batch, width], rows of their
    tables, if `Sequence.reads` names them}. The width is that of the batch's longest history, up to `length`, and at
    least one. A training on runs gives "asked" too, as in `SequenceEmbedding`: the next event may be left out of it.
    """

    feature: Sequence

    def encode_rows(
        self, item_index: tf.Tensor, history_timestamp: tf.Tensor, timestamp: tf.Tensor,
        codes: Mapping[str, tf.Tensor] = {},
    ) -> dict[str, tf.Tensor]:
        kept = self.merged(item_index)
        pasts = [(kept, -1), (history_timestamp, 0), *((values, 0) for values in codes.values())]
        index, times, *found = newest(pasts, kept < 0, self.length)
        return self.encode_window(index, times, timestamp, dict(zip(codes, found)))

    def encode_window(
        self, item_index: tf.Tensor, history_timestamp: tf.Tensor, timestamp: tf.Tensor,
        codes: Mapping[str, tf.Tensor] = {},
    ) -> dict[str, tf.Tensor]:
        times = tf.where(item_index >= 0, history_timestamp, 0)
        now = tf.reduce_max(times, axis=1)
        if self.feature.request_time:
            now = tf.where(timestamp > 0, timestamp, now)
        age = tf.clip_by_value(now[:, tf.newaxis] - times, 0, tf.int32.max)
        return {"index": item_index, "age": tf.cast(tf.where(times > 0, age, 0), tf.int32), **codes}

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> SequenceEmbedding:
        index, age = encoded["index"], encoded["age"]
        places, vectors = self.events(encoded, index)
        shape = tf.concat([tf.shape(index, tf.int64), [self.items.feature.dim]], axis=0)
        values = tf.ensure_shape(tf.scatter_nd(places, vectors, shape), [None, None, self.items.feature.dim])
        following = encoded.get("asked", tf.pad(age[:, 1:], [[0, 0], [0, 1]]))
        return SequenceEmbedding(values, index >= 0, age, following if self.feature.request_time else age)
