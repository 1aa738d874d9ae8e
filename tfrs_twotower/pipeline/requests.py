"""The inputs of a served request for a user of the log."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog
from tfrs_twotower.errors import DataError
from tfrs_twotower.features import key_tensor, to_tensor
from tfrs_twotower.pipeline.assembly import Assembly


@dataclasses.dataclass(frozen=True)
class Live:
    """What the requests of users just after the log's last event are made of.

    Attributes:
      log: their events and columns.
      inputs: {input name: TensorSpec} of the query tower.
      past_length: events of a history, at most.
    """

    log: InteractionLog
    inputs: Mapping[str, tf.TensorSpec]
    past_length: int

    @classmethod
    def of(cls, assembly: Assembly) -> "Live":
        """That of a model in memory."""
        return cls(assembly.log, assembly.model.query_tower.inputs(), assembly.past_length)


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
            f"`{name}` must be a whole number, as in the log. Received: {list(values)!r}. Pass the log's own ids."
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
    return _requests(Live.of(assembly), ids, rows, _events(assembly.log, rows))


def live_blocks(live: Live, start: int, size: int, block: int) -> Iterator[tuple[dict[str, tf.Tensor], tf.Tensor]]:
    """`live_requests` of the users in some rows of the user table, `block` at a time. The log is searched once."""
    rows = np.arange(start, start + size)
    ids, events = live.log.users[c.USER_ID].slice(start, size), _events(live.log, rows)
    for at in range(0, size, block):
        part = slice(at, at + block)
        yield _requests(live, ids.slice(at, block), rows[part], events[part])


def _requests(
    live: Live, ids: pa.Array | pa.ChunkedArray, rows: np.ndarray, events: Sequence[np.ndarray]
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """`live_requests` of users of these ids, rows of the user table (−1: unknown) and log rows."""
    log = live.log
    taken = pa.array(np.where(rows >= 0, rows, 0), mask=rows < 0)
    item_ids = log.items[c.ITEM_ID].combine_chunks()

    def column(name: str) -> pa.Array | pa.ChunkedArray:
        if name == c.USER_ID:
            return ids
        if name == c.TIMESTAMP:
            return pa.array([int(log.timestamp[-1]) + 1 if log.timed else 0] * len(rows))
        if name == c.HISTORY_ITEM_ID:
            return _lists([item_ids.take(log.item[_last(e)]) for e in events], item_ids.type)
        if name == c.HISTORY_TIMESTAMP:
            return _lists([pa.array(log.timestamp[_last(e)]) for e in events], pa.int64())
        if name in log.users.column_names:
            return log.users[name].take(taken)
        return pa.nulls(len(rows), log.context[name].type)

    def _last(e: np.ndarray) -> np.ndarray:
        return e[-live.past_length:]

    features = {name: to_tensor(column(name), spec) for name, spec in live.inputs.items()}
    seen = _lists([item_ids.take(np.unique(log.item[e])) for e in events], item_ids.type)
    return features, key_tensor(seen, c.ITEM_ID)


def _events(log: InteractionLog, users: np.ndarray) -> list[np.ndarray]:
    """The log rows of each user, ascending; in a log without times the first with each item, as in a history."""
    wanted = np.zeros(len(log.users), bool)
    wanted[users[users >= 0]] = True
    rows = np.flatnonzero(wanted[log.user])
    rows = rows[np.argsort(log.user[rows], kind="stable")]
    starts, stops = (np.searchsorted(log.user[rows], users, side) for side in ("left", "right"))
    found = [rows[start:stop] for start, stop in zip(starts, stops)]
    if log.timed:
        return found
    return [own[np.sort(np.unique(log.item[own], return_index=True)[1])] for own in found]


def _lists(arrays: Sequence[pa.Array], kind: pa.DataType) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum([len(a) for a in arrays])])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.concat_arrays([a.cast(kind) for a in arrays]))
