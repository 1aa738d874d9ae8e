"""The base of the fields of a user's history: the same inputs, and the candidate's table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.columns import HISTORY_ITEM_ID, HISTORY_TIMESTAMP, TIMESTAMP
from tfrs_twotower.features.fields.field import Field
from tfrs_twotower.features.fields.id import IdField
from tfrs_twotower.features.lookup import is_missing
from tfrs_twotower.features.past import PastFeature


class PastField(Field):
    """Base of `HistoryField` and `SequenceField`.

    Args:
      items: the `IdField` of the candidate's `item_id`. It learns the vocabulary and owns the table: it
        is adapted, saved and loaded with the candidate tower.
    """

    feature: PastFeature

    def __init__(self, feature: PastFeature, items: IdField, seed: int = 0) -> None:
        super().__init__(feature, seed)
        self.items = items

    @property
    def length(self) -> int:
        """The number of events that the field reads."""
        return self.feature.length

    def inputs(self) -> dict[str, tf.TensorSpec]:
        specs = {
            HISTORY_ITEM_ID: tf.TensorSpec([None, None], self.items.key_dtype),
            HISTORY_TIMESTAMP: tf.TensorSpec([None, None], tf.int64),
            TIMESTAMP: tf.TensorSpec([None], tf.int64),
        }
        return {name: specs[name] for name in self.columns}

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        """Does nothing: the item field has the vocabulary."""

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        ids, times = raw[HISTORY_ITEM_ID], raw[HISTORY_TIMESTAMP]
        index = tf.where(is_missing(ids), -1, self.items.index(ids))
        return self.encode_rows(index, times, raw.get(TIMESTAMP, tf.zeros(tf.shape(ids)[:1], tf.int64)))

    def encode_rows(
        self, item_index: tf.Tensor, history_timestamp: tf.Tensor, timestamp: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The encoded form of a history whose ids are looked up already.

        Args:
          item_index: int32 [batch, any], the ids as encoded by the item field, oldest first, padded at
            the end with −1.
          history_timestamp: int64 [batch, any], seconds; 0 or less is a missing time, and of age 0.
          timestamp: int64 [batch], the moment of the request; 0 or less counts as the newest event's time.
        """
        raise NotImplementedError

    def encode_window(
        self, item_index: tf.Tensor, history_timestamp: tf.Tensor, timestamp: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """As `encode_rows`, for histories without gaps that are cut to `length` already: far fewer steps."""
        raise NotImplementedError

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        if not self.items.built:
            self.items.build(None)
        super().build(input_shape)

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Does nothing: load the item field's state."""


def newest(
    pasts: Sequence[tuple[tf.Tensor, str | int]], missing: tf.Tensor, length: int, whole: bool = False
) -> list[tf.Tensor]:
    """The newest `length` events of each history, oldest first, without gaps: [batch, width] of each tensor.

    Args:
      pasts: (values [batch, any], padding value), oldest first.
      missing: bool [batch, any], where there is no event.
      length: the largest number of events.
      whole: the width is `length`; else it is that of the batch's longest history, and at least one.
    """
    order = tf.argsort(tf.cast(missing, tf.int32), axis=1, stable=True)  # gaps go to the end
    count = tf.reduce_sum(tf.cast(~missing, tf.int32), axis=1, keepdims=True)
    width = length if whole else tf.clip_by_value(tf.reduce_max(tf.pad(count, [[0, 1], [0, 0]])), 1, length)
    place = tf.maximum(count - length, 0) + tf.range(width)
    there = place < count
    # One more column, so that a batch without any history can be read too.
    place = tf.gather(tf.pad(order, [[0, 0], [0, 1]]), tf.where(there, place, 0), batch_dims=1)
    found = [(tf.gather(tf.pad(v, [[0, 0], [0, 1]]), place, batch_dims=1), nothing) for v, nothing in pasts]
    return [tf.where(there, values, tf.constant(nothing, values.dtype)) for values, nothing in found]
