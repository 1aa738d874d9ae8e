"""The inputs of a served request for a user of the log."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog, UserSearches, of_kinds
from tfrs_twotower.errors import DataError
from tfrs_twotower.features import PARTS, Window, key_tensor, to_tensor
from tfrs_twotower.pipeline.assembly import Assembly

_SEEN = "seen"


@dataclasses.dataclass(frozen=True)
class Live:
    """What the requests of users just after the log's last event are made of.

    Attributes:
      log: their events and columns.
      inputs: {input name: TensorSpec} of the query tower.
      windows: {name of a history: its `Window`}.
      searches: the most searches that are read.
    """

    log: InteractionLog
    inputs: Mapping[str, tf.TensorSpec]
    windows: Mapping[str, Window]
    searches: int = 0

    @classmethod
    def of(cls, assembly: Assembly) -> "Live":
        """That of a model in memory."""
        return cls(assembly.log, assembly.model.query_tower.inputs(), assembly.windows, assembly.searches)


def as_ids(values: Collection[Any], table: pa.Table, name: str) -> pa.Array:
    """Ids in the log's type, text or whole numbers: "42" from a command line becomes 42 if ids are numbers.

    Raises:
      DataError: the log's ids are whole numbers and a value is none.
    """
    kind = table[name].type
    try:
        return pc.cast(pa.array([str(v) for v in values]), kind)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"`{name}` must be a whole number of 64 bits, as in the log. Received: {list(values)!r}. "
            "Pass the log's own ids."
        ) from error


def user_rows(log: InteractionLog, user_ids: Collection[Any]) -> np.ndarray:
    """int64 [users]: rows of the user table; −1 for an unknown id."""
    values = as_ids(user_ids, log.users, c.USER_ID)
    found = pc.index_in(values, value_set=log.users[c.USER_ID].combine_chunks())
    return pc.fill_null(found, -1).to_numpy().astype(np.int64)


def live_requests(assembly: Assembly, user_ids: Collection[Any]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Raw query features of users after the log's last event, and their seen items.

    An unknown user gets missing values and an empty history; context columns are missing for everyone.

    Returns:
      ({input name: tensor [users, ...]}, item ids [users, any], padded).
    """
    rows = user_rows(assembly.log, user_ids)
    ids = as_ids(user_ids, assembly.log.users, c.USER_ID)
    live = Live.of(assembly)
    return _requests(live, ids, rows, _pasts(live, rows))


def live_blocks(live: Live, start: int, size: int, block: int) -> Iterator[tuple[dict[str, tf.Tensor], tf.Tensor]]:
    """`live_requests` of the users in some rows of the user table, `block` at a time. The log is searched once."""
    rows = np.arange(start, start + size)
    ids, pasts = live.log.users[c.USER_ID].slice(start, size), _pasts(live, rows)
    for at in range(0, size, block):
        part = slice(at, at + block)
        yield _requests(live, ids.slice(at, block), rows[part], {name: e[part] for name, e in pasts.items()})


def _requests(
    live: Live, ids: pa.Array | pa.ChunkedArray, rows: np.ndarray, pasts: Mapping[str, Sequence[np.ndarray]]
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """`live_requests` of users of these ids, rows of the user table (−1: unknown) and log rows (of `_pasts`)."""
    log = live.log
    taken = pa.array(np.where(rows >= 0, rows, 0), mask=rows < 0)
    item_ids = log.items[c.ITEM_ID].combine_chunks()
    parts = {f"{name}_{part}": (name, part) for name in live.windows for part in PARTS}

    def column(name: str) -> pa.Array | pa.ChunkedArray:
        if name == c.USER_ID:
            return ids
        if name == c.TIMESTAMP:
            return pa.array([int(log.timestamp[-1]) + 1 if log.timed else 0] * len(rows))
        if name == c.SEARCHES:
            return _lists([pa.array(words, pa.string()) for words in pasts[c.SEARCHES]], pa.string())
        if name in parts:
            past, part = parts[name]
            return past_part(part, [e[-live.windows[past].length:] for e in pasts[past]])
        if name in log.users.column_names:
            return log.users[name].take(taken)
        return pa.nulls(len(rows), log.context[name].type)

    def past_part(part: str, events: Sequence[np.ndarray]) -> pa.ListArray:
        if part == c.ITEM_ID:
            return _lists([item_ids.take(log.item[e]) for e in events], item_ids.type)
        if part == c.TIMESTAMP:
            return _lists([pa.array(log.timestamp[e]) for e in events], pa.int64())
        return _lists([log.context[part].take(e).combine_chunks() for e in events], log.context[part].type)

    features = {name: to_tensor(column(name), spec) for name, spec in live.inputs.items()}
    seen = _lists([item_ids.take(np.unique(log.item[e])) for e in pasts[_SEEN]], item_ids.type)
    return features, key_tensor(seen, c.ITEM_ID)


def _pasts(live: Live, users: np.ndarray) -> dict[str, list[np.ndarray]]:
    """{name of a history: `_events` of its kinds}, words under `SEARCHES`, all events of the users under `_SEEN`."""
    kinds = {name: of_kinds(live.log, window.kinds) for name, window in live.windows.items()}
    every = _events(live.log, users)
    found = {name: every if of is None else _events(live.log, users, of) for name, of in kinds.items()}
    words = {c.SEARCHES: UserSearches(live.log, ~live.log.again).latest(users, live.searches)} if live.searches else {}
    return {**found, **words, _SEEN: every}


def _events(log: InteractionLog, users: np.ndarray, of: np.ndarray | None = None) -> list[np.ndarray]:
    """The log rows of each user, ascending; in a log without times the first with each item, as in a history.

    of: bool [log rows]: the rows that count; None: all.
    """
    wanted = np.zeros(len(log.users), bool)
    wanted[users[users >= 0]] = True
    counted = wanted[log.user] & ~log.again
    rows = np.flatnonzero(counted if of is None else counted & of)
    rows = rows[np.argsort(log.user[rows], kind="stable")]
    starts, stops = (np.searchsorted(log.user[rows], users, side) for side in ("left", "right"))
    found = [rows[start:stop] for start, stop in zip(starts, stops)]
    if log.timed:
        return found
    return [own[np.sort(np.unique(log.item[own], return_index=True)[1])] for own in found]


def _lists(arrays: Sequence[pa.Array], kind: pa.DataType) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum([len(a) for a in arrays])])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.concat_arrays([a.cast(kind) for a in arrays]))
