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
from tfrs_twotower.data import blocks, values, wide
from tfrs_twotower.errors import DataError

_DTYPES = {"user": np.int32, "item": np.int32, "timestamp": np.int64, "weight": np.float32}


DROPPED = "drop"  # the kind of what a later stage left out of an answer


@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """Items that users saw and did not like: events with a label of 0 or less, in time order.

    They are not events of the log. So they are never positives or targets, and not part of a history, a count or
    `seen`. An item that was shown may be recommended again. Training uses them as negatives of their user.

    Attributes:
      user, item: int32 [m]: rows of the log's `users` and `items`
      timestamp: int64 [m]: seconds since 1970, UTC, ascending
      dropped: bool [m]: those that a later stage left out, so that nobody saw them: events of the kind `DROPPED`. They
        are negatives too, and no showing in a statistic; None: there are none
    """

    user: np.ndarray
    item: np.ndarray
    timestamp: np.ndarray
    dropped: np.ndarray | None = None

    @classmethod
    def none(cls) -> Shown:
        """Nothing was."""
        rows = np.zeros(0, np.int32)
        return cls(rows, rows, rows.astype(np.int64))

    def once(self, part: np.ndarray) -> Shown:
        """Those without second copies, which an earlier part of a `Joined` source has too; part: uint16 [m]."""
        again = _again(self.user, self.item, self.timestamp, part)
        return self.take(np.flatnonzero(~again)) if again.any() else self

    def take(self, rows: np.ndarray) -> Shown:
        """Some of them; rows: int64, ascending."""
        dropped = None if self.dropped is None else self.dropped[rows]
        return Shown(self.user[rows], self.item[rows], self.timestamp[rows], dropped)

    def __len__(self) -> int:
        return len(self.user)


@dataclasses.dataclass(frozen=True, eq=False)
class Searched:
    """Searches that chose no item, in time order. They are no events of the log; only `Searches` reads them.

    Attributes:
      user: int32 [m]: rows of the log's `users`
      timestamp: int64 [m]: seconds since 1970, UTC, ascending
      query: pa.Array of text [m]: the words
    """

    user: np.ndarray
    timestamp: np.ndarray
    query: pa.Array

    @classmethod
    def of(cls, parts: Sequence[Searched]) -> Searched:
        """Those of several parts, in the order of time; a user's search of the same second and words counts once."""
        user, timestamp = (np.concatenate([getattr(part, name) for part in (cls.none(), *parts)])
                           for name in ("user", "timestamp"))
        query = pa.concat_arrays([part.query for part in (cls.none(), *parts)])
        known = pd.MultiIndex.from_arrays([user, timestamp, query.to_numpy(zero_copy_only=False)]).duplicated()
        first = np.flatnonzero(~known)
        rows = first[np.argsort(timestamp[first], kind="stable")]
        return cls(user[rows], timestamp[rows], query.take(pa.array(rows)))

    @classmethod
    def none(cls) -> Searched:
        """There are none."""
        return cls(np.zeros(0, np.int32), np.zeros(0, np.int64), pa.array([], pa.string()))

    def __len__(self) -> int:
        return len(self.user)


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
        return _again(self.user, self.item, self.timestamp, self.part)

    def of_users(self, users: np.ndarray) -> tuple[InteractionLog, np.ndarray]:
        """(the log of some users, whose table has no others; int64: its rows in this log). It has all items.

        users: int64, rows of `users`, ascending
        """
        place = np.full(len(self.users), -1, np.int32)
        place[users] = np.arange(len(users))
        rows, shown, searched = (np.flatnonzero(place[of.user] >= 0) for of in (self, self.shown, self.searched))
        return InteractionLog(
            place[self.user[rows]], self.item[rows], self.timestamp[rows], self.weight[rows],
            _taken(self.context, rows), _taken(self.users, users), self.items,
            None if self.part is None else self.part[rows],
            dataclasses.replace(self.shown.take(shown), user=place[self.shown.user[shown]]),
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


def _again(user: np.ndarray, item: np.ndarray, timestamp: np.ndarray, part: np.ndarray) -> np.ndarray:
    """bool [n]: rows that an earlier part has too, by user, item and time; none without times. Times ascend."""
    again = np.zeros(len(part), bool)
    rows = np.flatnonzero(part)
    if len(rows) and timestamp[-1] > 0:
        between = slice(*np.searchsorted(timestamp, [timestamp[rows[0]], timestamp[rows[-1]] + 1]))
        keys = {"user": user[between], "item": item[between], "timestamp": timestamp[between]}
        rest = pd.DataFrame({**keys, "part": part[between]})
        again[between] = rest["part"] > rest.groupby([*keys])["part"].transform("min")
    return again


def dropped(kinds: pa.ChunkedArray | pa.Array) -> np.ndarray | None:
    """bool [n]: whether each kind of event is `DROPPED`; None if none is."""
    if not values.is_text(kinds.type):
        return None
    found = pc.fill_null(pc.equal(kinds, DROPPED), False).to_numpy(zero_copy_only=False)
    return found if found.any() else None


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
