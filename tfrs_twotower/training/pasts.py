"""The histories that the fields of a query read, gathered from the log."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog, UserHistories, UserSearches, of_kinds, wide
from tfrs_twotower.features import PastField, SearchesField, to_tensor
from tfrs_twotower.features.fields.past_parts import DwellField, KindField
from tfrs_twotower.features.fields.preprocessed import PreprocessedField

ROWS = "rows"  # the key of item rows in a gathered history
_PARTS = {c.EVENT: tf.TensorSpec([None], tf.string), c.DWELL: tf.TensorSpec([None], tf.float32)}


def event_part(log: InteractionLog, part: str, rows: np.ndarray | None = None) -> tf.Tensor:
    """A part of the log's events, or of those of some log rows, as a history has it: text, or float32 with NaN."""
    column = log.context[part] if rows is None else wide.take(log.context[part], rows)
    return to_tensor(column.cast(pa.string()) if part == c.EVENT else column, _PARTS[part], part)


class Past:
    """The histories of events of some kinds: of fields that read the same inputs.

    Args:
      log: an `InteractionLog`.
      fields: the fields, each of the same `PastFeature.kinds`.
      kinds: the kinds of events; () for all.
      visible: bool [log rows] or None: the events that a history may show.

    Attributes:
      kinds: the kinds of events; () for all.
      length: the most events that a field looks at.
      history: the `UserHistories`.
      shows: bool [log rows] or None: the events of these histories; None: all.
    """

    def __init__(
        self, log: InteractionLog, fields: Sequence[PastField | PreprocessedField], kinds: Sequence[str],
        visible: np.ndarray | None,
    ) -> None:
        self._log, self.fields, self.kinds = log, fields, tuple(kinds)
        chosen = of_kinds(log, kinds)
        self.shows = visible if chosen is None else chosen if visible is None else chosen & visible
        self.parts = tuple(dict.fromkeys(part for f in fields if isinstance(f, PastField) for part in f.parts))
        self.history = UserHistories(log, visible=self.shows, rows=bool(self.parts))
        lengths = [f.feature.reach if isinstance(f, PastField) else f.feature.length for f in fields]
        self.length = max(lengths, default=0)
        self._codes = {
            (f.name, part): _codes(log, part, field)
            for f in fields if isinstance(f, PastField) for part, field in f.parts.items()
        }

    def codes(self, field: PastField, rows: np.ndarray) -> dict[str, np.ndarray]:
        """{part: int32 of the shape of `rows`}: the parts of log rows as a field encodes them; 0 for a row of −1."""
        return {part: np.where(rows >= 0, self._codes[field.name, part][rows], 0) for part in field.parts}

    def gather(
        self, rows: np.ndarray, item_index: Callable[[PastField, np.ndarray], np.ndarray]
    ) -> dict[str, Any]:
        """The histories before log rows, for `encode`: numpy only. item_index: `Examples.item_index`."""
        items, times = self.history.before(rows, self.length)
        longest = max(int((items >= 0).any(axis=0).sum()), 1)  # events come first, then padding
        items, times = items[:, :longest], times[:, :longest]
        events = self.history.rows_before(rows, self.length)[:, :longest] if self.parts else rows
        past: dict[str, Any] = {"times": times, "now": self._log.timestamp[rows]}
        for f in self.fields:
            if isinstance(f, PastField):
                past[f.items.name] = item_index(f, items)
                past.update({f"{f.name}/{part}": codes for part, codes in self.codes(f, events).items()})
            else:
                past[ROWS] = items
        return past

    def encode(self, field: PastField, past: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Result of `gather` → the encoded form of a field: graph code."""
        encode = field.encode_window if field.length == self.length else field.encode_rows
        codes = {part: past[f"{field.name}/{part}"] for part in field.parts}
        return encode(past[field.items.name], past["times"], past["now"], *field.with_parts(codes))

    def raw(self, rows: np.ndarray, length: int) -> dict[str, Any]:
        """{part: [rows, length]}: the newest events before log rows as a request has them; `item_id` as item rows."""
        items, times = self.history.before(rows, length)
        found: dict[str, Any] = {c.ITEM_ID: items, c.TIMESTAMP: tf.constant(times)}
        if self.parts:
            events = self.history.rows_before(rows, length)
            flat = np.maximum(events, 0).ravel()
            for part in self.parts:
                values = tf.reshape(event_part(self._log, part, flat), events.shape)
                missing = tf.constant("" if values.dtype == tf.string else np.nan, values.dtype)
                found[part] = tf.where(events >= 0, values, missing)
        return found


def _codes(log: InteractionLog, part: str, field: KindField | DwellField) -> np.ndarray:
    """int32 [log rows]: a part of the log's events as its field encodes it."""
    if part != c.EVENT:
        return field.codes(event_part(log, part)).numpy()
    kinds = wide.one(log.context[part]).cast(pa.string()).dictionary_encode()  # a few texts, not one for each event
    codes = field.codes(tf.constant([*kinds.dictionary.to_pylist(), ""])).numpy()
    return codes[kinds.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)]


class SearchPast:
    """The searches of users before log rows, for one `SearchesField`.

    Args:
      log: an `InteractionLog` with a context column `query`.
      field: the field, adapted.
      visible: bool [log rows] or None: the events that may be read.
    """

    def __init__(self, log: InteractionLog, field: SearchesField, visible: np.ndarray | None) -> None:
        self._length, self._searches = field.feature.length, UserSearches(log, visible)
        self._tokens = field.tokens(tf.constant(self._searches.texts)).numpy()

    def encoded(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The encoded form of the field: numpy only."""
        return {"index": self._tokens[self._searches.before(rows, self._length)].reshape(len(rows), -1)}

    def raw(self, rows: np.ndarray) -> tf.Tensor:
        """string [rows, length]: the input of a request."""
        return tf.constant(self._searches.texts[self._searches.before(rows, self._length)])
