"""The features of log rows as encoded numbers: entity tables encoded once, then gathered."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog
from tfrs_twotower.errors import ConfigError, nearest
from tfrs_twotower.features import (
    Field,
    IdField,
    PastField,
    SearchesField,
    StatisticField,
    key_tensor,
    to_tensor,
)
from tfrs_twotower.features.fields.preprocessed import PreprocessedField
from tfrs_twotower.ids import missing_id
from tfrs_twotower.models import ItemFeatures
from tfrs_twotower.training.encoded_tables import encode_table, event_table
from tfrs_twotower.training.item_statistics import ItemStatistics
from tfrs_twotower.training.pasts import ROWS, Past, SearchPast

_HISTORY_INPUTS = (c.HISTORY_ITEM_ID, c.HISTORY_TIMESTAMP)
_PAST = "past"  # the key of the raw histories in a gathered batch, by their names


class Examples:
    """The log as encoded numbers, for training steps and evaluations.

    Args:
      log: an `InteractionLog`.
      query_fields, candidate_fields: adapted fields.
      visible: bool [log rows] or None: the events that a history may show.
      weight: float32 [log rows] or None: each event's weight as a positive; None is the log's own weight.
      labels: context columns of numbers that batches have.
      kinds: of the events of a history whose feature names none; () for all.
      statistics: the `ItemStatistics` of the candidates, or None if no field reads any.

    Attributes:
      history: the `UserHistories` of these kinds.
      pasts: {name of a history: its `Past`}, of the histories that the fields read; the name is that of `columns.past`.
      past_fields: the fields that read one.
    """

    def __init__(
        self, log: InteractionLog, query_fields: Sequence[Field], candidate_fields: Sequence[Field],
        visible: np.ndarray | None = None, weight: np.ndarray | None = None, labels: Iterable[str] = (),
        kinds: Sequence[str] = (), statistics: ItemStatistics | None = None,
    ) -> None:
        self.log = log
        self.weight = log.weight if weight is None else weight
        self._candidates = {
            f.name: encode_table(f.encode, log.items, f.inputs())
            for f in candidate_fields if not isinstance(f, StatisticField)
        }
        self.statistics = statistics
        self.items = ItemFeatures(self._candidates, statistics)
        self.past_fields: list[PastField | PreprocessedField] = [
            f for f in query_fields if isinstance(f, PastField) or c.HISTORY_ITEM_ID in f.columns
        ]
        self.pasts = _pasts(log, self.past_fields, kinds, visible)
        self.history = (self.pasts.get(c.PAST) or Past(log, [], kinds, visible)).history
        self.history_length = max([past.length for past in self.pasts.values()], default=0)
        self._searches = {
            f.name: SearchPast(log, f, visible) for f in query_fields if isinstance(f, SearchesField)
        }
        self._by_user, self._by_event = {}, {}
        for f in query_fields:
            if isinstance(f, (PastField, SearchesField)):
                continue
            specs = {name: spec for name, spec in f.inputs().items() if name not in _HISTORY_INPUTS}
            encode = f.beside_past if f in self.past_fields else f.encode
            if all(name in log.users.column_names for name in specs):
                self._by_user[f.name] = encode_table(encode, log.users, specs)
            else:
                self._by_event[f.name] = encode_table(encode, event_table(log, specs), specs)
        self._specs = {name: spec for f in query_fields for name, spec in f.inputs().items()}
        if self.past_fields:
            self._item_ids = key_tensor(log.items[c.ITEM_ID], c.ITEM_ID)
        number = tf.TensorSpec([None], tf.float32)
        self._labels = {name: to_tensor(_context(log, name), number, name).numpy() for name in labels}

    def context(self, rows: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        """Encoded query features at log rows, without those of the history: numpy only."""
        users = self.log.user[rows]
        encoded = {name: {k: a[users] for k, a in table.items()} for name, table in self._by_user.items()}
        encoded |= {name: {k: a[rows] for k, a in table.items()} for name, table in self._by_event.items()}
        return encoded | {name: past.encoded(rows) for name, past in self._searches.items()}

    def labels(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """{column: float32 [rows]}: the labels of log rows."""
        return {name: values[rows] for name, values in self._labels.items()}

    def item_rows(self, field: IdField) -> np.ndarray:
        """int32 [items]: the row of each item in the table of `field`, an `IdField` of the candidates."""
        return np.asarray(self._candidates[field.name]["index"])

    def item_index(self, field: PastField, items: np.ndarray) -> np.ndarray:
        """The encoding of item rows (−1 pads) for a history field: int32, rows of its table."""
        index = self._candidates[field.items.name]["index"]
        return np.where(items >= 0, index[items], -1).astype(np.int32)

    def gather(self, rows: np.ndarray) -> dict[str, dict[str, Any]]:
        """Query features at log rows, encoded except for the histories (see `finish`): numpy only."""
        encoded = self.context(rows)
        if not self.past_fields:
            return encoded
        pasts = {name: past.gather(rows, self.item_index) for name, past in self.pasts.items()}
        return {**encoded, _PAST: pasts}

    def finish(self, gathered: Mapping[str, Any]) -> dict[str, Any]:
        """Encodes the histories of gathered query features: graph code."""
        encoded = {name: value for name, value in gathered.items() if name != _PAST}
        for name, past in self.pasts.items():
            found = gathered[_PAST][name]
            for f in past.fields:
                if isinstance(f, PastField):
                    encoded[f.name] = past.encode(f, found)
                else:
                    raw = {c.HISTORY_ITEM_ID: self._ids(found[ROWS]), c.HISTORY_TIMESTAMP: found["times"]}
                    encoded[f.name] = f.encode({**encoded[f.name], **raw})
        return encoded

    def _ids(self, rows: np.ndarray | tf.Tensor) -> tf.Tensor:
        """The ids of item rows, of any shape; the missing id of −1."""
        known = tf.gather(self._item_ids, tf.maximum(rows, 0))
        return tf.where(rows >= 0, known, tf.constant(missing_id(known.dtype), known.dtype))

    def queries(self, rows: np.ndarray | Sequence[int]) -> dict[str, Any]:
        """Encoded query features at log rows; the history ends just before each row."""
        return self.finish(self.gather(np.asarray(rows)))

    def candidates(
        self, rows: np.ndarray | tf.Tensor, hour: int | tf.Tensor | None = None
    ) -> dict[str, dict[str, tf.Tensor]]:
        """Encoded candidate features of item rows, with the statistics as of an hour: see `ItemFeatures.rows`."""
        return self.items.rows(rows, hour)

    def raw_queries(
        self, rows: np.ndarray | Sequence[int], past_length: int | None = None
    ) -> dict[str, tf.Tensor]:
        """Query features at log rows in the form of a served request: {input name: tensor [rows, ...]}.

        past_length: the number of events of the history without kinds of its own; None: as many as the towers read.
        """
        rows = np.asarray(rows)
        raw = {c.SEARCHES: past.raw(rows) for past in self._searches.values()}
        for name, past in self.pasts.items():
            length = past_length if past_length and name == c.PAST else past.length
            found = past.raw(rows, length)
            found[c.ITEM_ID] = self._ids(found[c.ITEM_ID])
            raw.update({f"{name}_{part}": value for part, value in found.items() if f"{name}_{part}" in self._specs})
        table = event_table(self.log, [name for name in self._specs if name not in raw], rows)
        return {**{name: to_tensor(table[name], self._specs[name]) for name in table.column_names}, **raw}


def _pasts(
    log: InteractionLog, fields: Sequence[PastField | PreprocessedField], kinds: Sequence[str],
    visible: np.ndarray | None,
) -> dict[str, Past]:
    """{name of a history: its `Past`}; kinds: of the one whose features name none."""
    by_kinds: dict[tuple[str, ...], list[PastField | PreprocessedField]] = {}
    for f in fields:
        by_kinds.setdefault(f.feature.kinds if isinstance(f, PastField) else (), []).append(f)
    return {c.past(kinds=own): Past(log, found, own or kinds, visible) for own, found in by_kinds.items()}


def _context(log: InteractionLog, name: str) -> pa.ChunkedArray:
    """A context column of the log. Raises `ConfigError` if there is no such column."""
    if name not in log.context.column_names:
        raise ConfigError(f"A loss reads the label `{name}`, which is no context column." + nearest(
            name, log.context.column_names) + " Name it in Columns(context=...).")
    return log.context[name]
