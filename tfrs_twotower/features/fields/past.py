"""The base of the fields of a user's history: the same inputs, and the candidate's table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.columns import DWELL, EVENT, ITEM_ID, TIMESTAMP
from tfrs_twotower.features.fields.field import Field
from tfrs_twotower.features.fields.id import IdField
from tfrs_twotower.features.fields.past_parts import PARTS, DwellField, ItemValuesField, KindField
from tfrs_twotower.features.fields.pooling import gather_present
from tfrs_twotower.features.lookup import is_missing
from tfrs_twotower.features.past import PastFeature
from tfrs_twotower.features.tensors import key_tensor

_DAY = 86400.0  # seconds


class PastField(Field):
    """Base of the fields of a history.

    Args:
      items: the `IdField` of the candidate's `item_id`. It learns the vocabulary and owns the table: it
        is adapted, saved and loaded with the candidate tower.

    Attributes:
      parts: {part of an event: its field}, of `PastFeature.reads`.
      values: the fields of `PastFeature.categories`.
    """

    feature: PastFeature

    def __init__(self, feature: PastFeature, items: IdField, seed: int = 0) -> None:
        super().__init__(feature, seed)
        self.items, dim = items, items.feature.dim
        self.parts: dict[str, KindField | DwellField] = {
            part: PARTS[part](dim, self.seed) for part in feature.reads
        }
        self.values = [ItemValuesField(column, dim, self.seed) for column in feature.categories]

    @property
    def length(self) -> int:
        """The number of events that the field reads."""
        return self.feature.length

    def inputs(self) -> dict[str, tf.TensorSpec]:
        specs = {
            ITEM_ID: self.items.key_dtype, TIMESTAMP: tf.int64, EVENT: tf.string, DWELL: tf.float32,
        }
        found = {self.feature.input(part): tf.TensorSpec([None, None], dtype) for part, dtype in specs.items()}
        found[TIMESTAMP] = tf.TensorSpec([None], tf.int64)
        return {name: found[name] for name in self.columns}

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        """Learns the kinds of events and the items' values; the item field has the vocabulary of ids.

        Args:
          columns: the parts of training events by the names of their inputs, [rows]; `item_id` and the categories,
            [items].
          counts: int64 [items].
        """
        for part, field in self.parts.items():
            events = columns[self.feature.input(part)]
            field.adapt({part: events}, np.ones(len(events), np.int64))
        self._learn_values(columns, counts)

    def grow(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        """See `Field.grow`; arguments as in `adapt`."""
        for part, field in self.parts.items():
            events = columns[self.feature.input(part)]
            field.grow({part: events}, np.ones(len(events), np.int64))
        self._learn_values(columns, counts, grow=True)

    def _learn_values(
        self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray, grow: bool = False
    ) -> None:
        if self.values:
            rows = self.items.index(key_tensor(columns[ITEM_ID], ITEM_ID)).numpy()
            for field in self.values:
                field.learn_items(columns[field.feature.column], counts, rows, self.items.rows, grow)

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        ids, times = raw[self.feature.input(ITEM_ID)], raw[self.feature.input(TIMESTAMP)]
        index = tf.where(is_missing(ids), -1, self.items.index(ids))
        now = raw.get(TIMESTAMP, tf.zeros(tf.shape(ids)[:1], tf.int64))
        return self.encode_rows(index, times, now, *self.with_parts(
            {part: field.codes(raw[self.feature.input(part)]) for part, field in self.parts.items()}
        ))

    def with_parts(self, codes: Mapping[str, tf.Tensor]) -> list[Mapping[str, tf.Tensor]]:
        """The last argument of `encode_rows` and `encode_window`: none if the field reads no parts."""
        return [codes] if codes else []

    def encode_rows(
        self, item_index: tf.Tensor, history_timestamp: tf.Tensor, timestamp: tf.Tensor,
        codes: Mapping[str, tf.Tensor] = {},
    ) -> dict[str, tf.Tensor]:
        """The encoded form of a history whose ids are looked up already.

        Args:
          item_index: int32 [batch, any], the ids as encoded by the item field, oldest first, padded at
            the end with −1.
          history_timestamp: int64 [batch, any], seconds; 0 or less is a missing time, and of age 0.
          timestamp: int64 [batch], the moment of the request; 0 or less counts as the newest event's time.
          codes: {part: int32 [batch, any]}, the parts as encoded by their fields; 0 at padding.
        """
        raise NotImplementedError

    def encode_window(
        self, item_index: tf.Tensor, history_timestamp: tf.Tensor, timestamp: tf.Tensor,
        codes: Mapping[str, tf.Tensor] = {},
    ) -> dict[str, tf.Tensor]:
        """As `encode_rows`, for histories without gaps that are cut to `length` already: far fewer steps."""
        raise NotImplementedError

    def merged(self, index: tf.Tensor) -> tf.Tensor:
        """`index` [batch, any], of `encode_rows`, with −1 in the place of what `PastFeature.merge` leaves out."""
        return tf.where(self.goes_on(index), -1, index) if self.feature.merge else index

    def goes_on(self, index: tf.Tensor) -> tf.Tensor:
        """bool [batch, any]: whether the run of an event goes on with the next one. Unknown items make no runs."""
        before, after = index[:, :-1], index[:, 1:]
        alike = before == after
        if self.feature.merge != ITEM_ID:
            alike |= self.values[self.feature.categories.index(self.feature.merge)].alike(before, after)
        return tf.pad(alike & (before > 0) & (after > 0), [[0, 0], [0, 1]])[:, :tf.shape(index)[1]]

    def events(self, encoded: Mapping[str, tf.Tensor], index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The places of the events of `index` [batch, any] and their vectors, as `gather_present` gives them."""
        places, vectors = gather_present(self.items.embedding, index)
        for part, field in self.parts.items():
            vectors += field({"index": tf.gather_nd(encoded[part], places)})
        for values in self.values:
            vectors += values.of_items(tf.gather_nd(index, places))
        return places, vectors

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        for field in (self.items, *self.parts.values(), *self.values):
            if not field.built:
                field.build(None)
        super().build(input_shape)

    def state(self) -> dict[str, Any]:
        return {f"{name}/{key}": value for name, field in self._below() for key, value in field.state().items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Loads the state of the parts; load the item field's state before."""
        for name, field in self._below():
            below = f"{name}/"
            field.load_state({key.removeprefix(below): v for key, v in state.items() if key.startswith(below)})

    def _below(self) -> list[tuple[str, Field]]:
        return [*self.parts.items(), *((f"item/{field.name}", field) for field in self.values)]


class AgedField(PastField):
    """Base of the fields that read the items and the ages of a history's events.

    Encoded: {"index": int32 [batch, any], rows of the items' table, 0 for an unknown item and −1 for
    no event; "age": float32 [batch, any], days from the event to the request; "event", "dwell": int32 [batch, any],
    rows of their tables, if `PastFeature.reads` names them}.
    """

    def encode_rows(
        self, item_index: tf.Tensor, history_timestamp: tf.Tensor, timestamp: tf.Tensor,
        codes: Mapping[str, tf.Tensor] = {},
    ) -> dict[str, tf.Tensor]:
        # Only the newest `length` events count, so each row starts where these start.
        events = tf.range(1, tf.shape(item_index)[1] + 1) * tf.cast(item_index >= 0, tf.int32)
        count = tf.reduce_max(tf.pad(events, [[0, 0], [1, 0]]), axis=1, keepdims=True)
        place = tf.maximum(count - self.length, 0) + tf.range(self.length)
        there = place < count
        place = tf.where(there, place, 0)
        index = tf.where(there, _gather(item_index, place, -1), -1)
        codes = {part: tf.where(there, _gather(values, place, 0), 0) for part, values in codes.items()}
        return self.encode_window(index, _gather(history_timestamp, place, 0), timestamp, codes)

    def encode_window(
        self, item_index: tf.Tensor, history_timestamp: tf.Tensor, timestamp: tf.Tensor,
        codes: Mapping[str, tf.Tensor] = {},
    ) -> dict[str, tf.Tensor]:
        times = tf.where(item_index >= 0, history_timestamp, 0)
        now = tf.where(timestamp > 0, timestamp, tf.reduce_max(times, axis=1))
        age = tf.cast(tf.maximum(now[:, tf.newaxis] - times, 0), tf.float32) / _DAY
        return {"index": item_index, "age": tf.where(times > 0, age, 0.0), **codes}


def _gather(values: tf.Tensor, place: tf.Tensor, missing: int) -> tf.Tensor:
    """`values` [batch, any] at the positions `place` [batch, length], also if a row has no values."""
    values = tf.pad(values, [[0, 0], [0, 1]], constant_values=missing)
    return tf.gather(values, place, batch_dims=1)


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
