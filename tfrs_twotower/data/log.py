"""The interaction log: which user met which item when, with ids coded as rows of two entity tables."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.columns import ITEM_ID, USER_ID
from tfrs_twotower.data import blocks, wide
from tfrs_twotower.data.unchosen import Searched, Shown, again_in
from tfrs_twotower.errors import DataError

_DTYPES = {"user": np.int32, "item": np.int32, "timestamp": np.int64, "weight": np.float32}


@dataclasses.dataclass(frozen=True, eq=False)
class InteractionLog:
    """Events in time order; events of the same second keep the order of the source.

    A log without times is in an order drawn by a fixed seed, so that the order of the file means nothing.

    Attributes:
      user: int32 [n]: row in `users`
      item: int32 [n]: row in `items`
      timestamp: int64 [n]: seconds since 1970, UTC, ascending; all 0 in a log without times
      weight: float32 [n]: 1 where the source has none
      context: n rows: the declared context columns and event, label and session, raw values
      users: one row per user: `user_id` (string or int64) and the feature columns
      items: one row per item: `item_id` and the feature columns; also items without events
      part: uint16 [n]: the part of a `Joined` source that has the event; None: not known. The fingerprint ignores it
      shown: items that users saw and did not like
      searched: searches that chose no item
    """

    user: np.ndarray
    item: np.ndarray
    timestamp: np.ndarray
    weight: np.ndarray
    context: pa.Table
    users: pa.Table
    items: pa.Table
    part: np.ndarray | None = None
    shown: Shown = dataclasses.field(default_factory=Shown.none)
    searched: Searched = dataclasses.field(default_factory=Searched.none)

    @property
    def timed(self) -> bool:
        """Whether the log has times. If not, `timestamp` is all 0 and the events are in random order."""
        times = self.timestamp if len(self) else self.shown.timestamp
        return not len(times) or bool(times[-1] > 0)

    def __post_init__(self) -> None:
        n = len(self.timestamp)
        for name, dtype in _DTYPES.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != (n,):
                raise DataError(
                    f"`{name}` must be {np.dtype(dtype)} [{n}]. Received: {array.dtype} {list(array.shape)}. "
                    "Let `ingest` build the log."
                )
        # A table without columns has no rows to count.
        if self.context.num_columns and self.context.num_rows != n:
            raise DataError(f"`context` must have {n} rows, one per event. Received: {self.context.num_rows}.")
        for name, table, id_name in (("user", self.users, USER_ID), ("item", self.items, ITEM_ID)):
            rows = getattr(self, name)
            if id_name not in table.column_names:
                raise DataError(f"`{name}s` must have a column `{id_name}`. Received: {table.column_names}.")
            if n and (rows.min() < 0 or rows.max() >= len(table)):
                raise DataError(
                    f"`{name}` must hold rows of `{name}s`, from 0 to {len(table) - 1}. "
                    f"Received: {rows.min()} to {rows.max()}. Let `ingest` build the log."
                )
        if np.any(self.timestamp[1:] < self.timestamp[:-1]):
            raise DataError("`timestamp` must ascend. Sort the events with a stable sort, or use `ingest`.")

    def __len__(self) -> int:
        return len(self.timestamp)

    def new_in(self, part: int) -> np.ndarray:
        """bool [n]: the events of one part of a `Joined` source that no other part has (by user, item and time)."""
        new: np.ndarray = self.part == part  # type: ignore[assignment]  # asked only where the parts are known
        if new.any():
            rows = np.flatnonzero(new)
            between = slice(*np.searchsorted(self.timestamp, [self.timestamp[rows[0]], self.timestamp[rows[-1]] + 1]))
            events = pd.MultiIndex.from_arrays([self.user[between], self.item[between], self.timestamp[between]])
            new[between] &= ~events.isin(events[~new[between]])
        return new

    @functools.cached_property
    def again(self) -> np.ndarray:
        """bool [n]: second copies: events that an earlier part of a `Joined` source has too, by user, item and time.

        No history, statistic or update counts them. In a log without times nothing tells a copy from a repeat, and
        there are none.
        """
        if self.part is None:
            return np.zeros(len(self), bool)
        return again_in(self.user, self.item, self.timestamp, self.part)

    def of_users(self, users: np.ndarray, items: np.ndarray | None = None) -> tuple[InteractionLog, np.ndarray]:
        """(the log of some users, whose table has no others; int64: its rows in this log).

        Args:
          users: int64, rows of `users`, ascending
          items: int64, rows of `items`: its table has these and those of its events; None: it has all
        """
        chosen, place = np.zeros(len(self.users), bool), np.empty(len(self.users), np.int32)
        chosen[users], place[users] = True, np.arange(len(users))
        rows, shown, searched = (
            np.flatnonzero(blocks.take(chosen, of.user)) for of in (self, self.shown, self.searched)
        )
        item, its_shown, table = self.item[rows], self.shown.take(shown), self.items
        if items is not None:
            items = np.unique(np.concatenate([items, item, its_shown.item]))
            item, of_shown = (np.searchsorted(items, of).astype(np.int32) for of in (item, its_shown.item))
            its_shown, table = dataclasses.replace(its_shown, item=of_shown), _taken(self.items, items)
        return InteractionLog(
            place[self.user[rows]], item, self.timestamp[rows], self.weight[rows],
            _taken(self.context, rows), _taken(self.users, users), table,
            None if self.part is None else self.part[rows],
            dataclasses.replace(its_shown, user=place[its_shown.user]),
            Searched(place[self.searched.user[searched]], self.searched.timestamp[searched],
                     self.searched.query.take(pa.array(searched))),
        ), rows

    def item_counts(self, rows: np.ndarray | None = None) -> np.ndarray:
        """int64 [items]: events of each item, in the whole log or in the given log rows."""
        items = self.item if rows is None else blocks.take(self.item, rows)
        return blocks.counts(items, len(self.items))

    def fingerprint(self) -> str:
        """SHA-256 of the log's contents, as 64 hex digits. Equal logs have equal fingerprints."""
        digest = hashlib.sha256()
        for name in _DTYPES:
            digest.update(np.ascontiguousarray(getattr(self, name)).data)
        for array in (self.shown.user, self.shown.item, self.shown.timestamp) if len(self.shown) else ():
            digest.update(np.ascontiguousarray(array).data)
        if self.shown.dropped is not None:
            digest.update(np.packbits(self.shown.dropped).data)
        for array in (self.searched.user, self.searched.timestamp) if len(self.searched) else ():
            digest.update(np.ascontiguousarray(array).data)
        if len(self.searched):
            _update(digest, pa.chunked_array([self.searched.query]))
        for table in (self.context, self.users, self.items):
            for name in table.column_names:
                digest.update(f"{name}:{table.num_rows};".encode())
                _update(digest, table.column(name))
        return digest.hexdigest()


def whole_context(parts: Sequence[tuple[pa.Table | None, int]]) -> pa.Table:
    """The context of several parts, one after the other. A column that a part lacks is null there.

    parts: (the context, or None; the number of events)

    Raises:
      pa.ArrowInvalid, pa.ArrowTypeError: a column has two types that cannot be one.
    """
    field = next((table.schema.field(0) for table, _ in parts if table is not None and table.num_columns), None)
    if field is None:
        return pa.table({})
    tables = [  # a table without columns has no rows
        table if table is not None and table.num_columns else pa.table({field.name: pa.nulls(n, field.type)})
        for table, n in parts
    ]
    return pa.concat_tables(tables, promote_options="permissive")


def _taken(table: pa.Table, rows: np.ndarray) -> pa.Table:
    return pa.table({name: wide.take(table[name], rows) for name in table.column_names})


# Any: a hash of hashlib. NumPy's types declare arrays as buffers only from Python 3.12 on.
def _update(digest: Any, array: pa.ChunkedArray) -> None:
    """Hashes an Arrow column by value: buffers may differ in chunks, padding, slices, validity and width of offsets."""
    kind = array.type
    digest.update(str(kind).replace("large_", "").encode())
    digest.update(np.packbits(array.is_null().to_numpy()))
    if pa.types.is_dictionary(kind):
        _update(digest, array.cast(kind.value_type))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        _update_values(digest, pc.list_value_length(array).cast(pa.int32()))
        _update(digest, pc.list_flatten(array))
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = [text for chunk in array.chunks if len(text := chunk.drop_null())]
        ends = np.zeros(1, np.int64)
        digest.update(ends if texts else b"")
        for text in texts:
            ends = ends[-1] + np.cumsum(pc.binary_length(text).to_numpy(), dtype=np.int64)
            digest.update(ends)
        for text in texts:
            digest.update(_text(text))
    else:
        _update_values(digest, array)


def _text(array: pa.Array) -> memoryview:
    """The bytes of an array of text without nulls."""
    _, offsets, text = array.buffers()
    offsets = np.frombuffer(offsets, np.int32 if pa.types.is_string(array.type) else np.int64)
    begin, end = offsets[array.offset], offsets[array.offset + len(array)]
    return memoryview(text or b"")[begin:end]


# Any: as in `_update`.
def _update_values(digest: Any, array: pa.ChunkedArray) -> None:
    """Hashes the values chunk by chunk: the column may be larger than the memory."""
    for chunk in array.chunks:
        chunk = chunk.cast(pa.int64()) if pa.types.is_temporal(chunk.type) else chunk
        digest.update(np.ascontiguousarray(chunk.drop_null().to_numpy(zero_copy_only=False)))
