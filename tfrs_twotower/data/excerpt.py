"""The part of a log that is read for the users of new events alone."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.columns import ITEM_ID, USER_ID
from tfrs_twotower.data import values
from tfrs_twotower.data.appending import Behind
from tfrs_twotower.data.ingest import ingest
from tfrs_twotower.data.log import InteractionLog
from tfrs_twotower.data.source import Source
from tfrs_twotower.errors import NoEvents

_NONE = np.zeros(0, np.int64)


class ReadOnce(Source):
    """A source of a few events, which is kept in memory when it is read, so that later readings find the same."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def name(self) -> str:
        return self._source.name

    def interactions(self) -> Iterator[pa.RecordBatch]:
        return iter(self._batches)

    def users(self) -> pa.Table | None:
        return self._users

    def items(self) -> pa.Table | None:
        return self._items

    @functools.cached_property
    def _batches(self) -> list[pa.RecordBatch]:
        return list(self._source.interactions())

    @functools.cached_property
    def _users(self) -> pa.Table | None:
        return self._source.users()

    @functools.cached_property
    def _items(self) -> pa.Table | None:
        return self._source.items()


def excerpt(
    log: InteractionLog, rows: np.ndarray, others: int, seed: tuple[int, ...], new: Source | None = None
) -> InteractionLog:
    """The events of some users, and some items, of a log that may be mapped.

    Args:
      log: an `InteractionLog`
      rows: int64, log rows: their users are among them
      others: how many items it has besides those of its events, at least; drawn uniformly from all
      seed: of that draw
      new: a Source of events that are to be appended: it has their users and items too
    """
    users, items = (_NONE, _NONE) if new is None else _known(log, new)
    n = log.items.num_rows
    drawn = np.random.default_rng(seed).choice(n, others, replace=False) if others < n else np.arange(n)
    return log.of_users(np.union1d(users, log.user[rows]), np.concatenate([items, drawn]))[0]


def _known(log: InteractionLog, new: Source) -> tuple[np.ndarray, np.ndarray]:
    """(int64: the rows of the users of a source's events in a log; the rows of its items)."""
    try:  # what is wrong with the events is said when they are appended
        day, _ = ingest(Behind(log.users[:0], log.items[:0], new), limit=1, shown_alone=True)
    except NoEvents:
        return _NONE, _NONE
    users = day.users[USER_ID].take(np.unique(np.concatenate([day.user, day.shown.user, day.searched.user])))
    return _rows(log.users[USER_ID], users), _rows(log.items[ITEM_ID], day.items[ITEM_ID])


def _rows(ids: pa.ChunkedArray, wanted: pa.ChunkedArray) -> np.ndarray:
    """int64, ascending: the rows of those ids that are there."""
    if values.is_text(ids.type) != values.is_text(wanted.type):
        return _NONE
    return np.flatnonzero(values.numpy(pc.is_in(ids, value_set=wanted.cast(ids.type).combine_chunks())))
