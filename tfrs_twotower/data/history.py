"""Histories of training rows and queries: a user's earlier events, or without times the user's other items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.columns import EVENT
from tfrs_twotower.data import blocks
from tfrs_twotower.data.grouping import grouped
from tfrs_twotower.data.log import InteractionLog
from tfrs_twotower.errors import DataError, invalid, nearest


def of_kinds(log: InteractionLog, kinds: Sequence[str]) -> np.ndarray | None:
    """bool [n]: the log's events of some kinds. None: all, as no kinds are named or the log tells none."""
    if not kinds or EVENT not in log.context.column_names:
        return None
    column = pc.fill_null(log.context[EVENT], "")
    return pc.is_in(column, pa.array(kinds, column.type)).to_numpy()


def check_kinds(log: InteractionLog, kinds: Sequence[str]) -> None:
    """Raises `DataError` if a log tells kinds, and has no event of one of these."""
    if not kinds or EVENT not in log.context.column_names:
        return
    known = sorted(kind or "" for kind in pc.unique(log.context[EVENT]).to_pylist())
    for kind in kinds:
        if kind and kind not in known:
            raise DataError(f"A history reads events of the kind `{kind}`, and the log has none. It has {known[:20]}."
                            + nearest(kind, known) + " Name kinds of the log.")


class UserHistories:
    """The users' events in the order (user, time, row order).

    In a log without times (`log.timed`), `before` gives the user's other visible items, each once, in random order. The
    row's own item is never among them, even if the user has it in another event.

    Args:
      log: InteractionLog
      visible: bool [n]: events that a history may show, or None: all of them
      rows: whether `rows_before` will be asked, which takes memory for each event
    """

    def __init__(self, log: InteractionLog, visible: np.ndarray | None = None, rows: bool = False) -> None:
        n = len(log)
        visible = None if visible is None else np.asarray(visible)
        if visible is not None and (visible.dtype != bool or visible.shape != (n,)):
            received = f"{visible.dtype} {list(visible.shape)}"
            raise DataError(invalid("visible", f"be bool [{n}]", received, "Give one truth value an event."))
        self._timed, self._user = log.timed, log.user
        order = grouped(log.user, len(log.users))
        if self._timed:  # of a large log, memory counts
            seen = None if visible is None else blocks.take(visible, order)
            # Visible events before each row in the sorted order: where the row's history ends.
            self._ends = blocks.places(order)
            if seen is not None:
                self._ends = blocks.take(np.cumsum(seen, dtype=order.dtype) - seen, self._ends)
            shown = order if seen is None else order[seen]
        else:
            shown = order[self._once(log, order, np.ones(n, bool) if visible is None else visible)]
        self._items = blocks.take(log.item, shown)
        self._timestamps = blocks.take(log.timestamp, shown, _small(log.timestamp))
        self._rows = shown if rows else None
        user = log.user if visible is None and self._timed else blocks.take(log.user, shown)
        self._starts = np.zeros(len(log.users) + 1, np.int64)
        np.cumsum(blocks.counts(user, len(log.users)), out=self._starts[1:])

    def _once(self, log: InteractionLog, order: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """Positions in `order` of each user's first visible event with each item; stores where each row's item is."""
        pair = (log.user.astype(np.int64) * len(log.items) + log.item)[order]
        at = np.flatnonzero(visible[order])
        pairs, first = np.unique(pair[at], return_index=True)
        first = at[first]
        kept = np.sort(first)
        self._own = np.full(len(order), -1, np.int64)  # position among the visible events, −1: the item is not there
        if len(pairs):
            found = np.minimum(np.searchsorted(pairs, pair), len(pairs) - 1)
            self._own[order] = np.where(pairs[found] == pair, np.searchsorted(kept, first)[found], -1)
        return kept

    def before(self, rows: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """The last `length` visible events of each row's user strictly before the row.

        Events of the same second are ordered by row. Without times, it gives `length` of the user's other visible
        items: those after the row's own item in the user's circular order. So rows see different items.

        Args:
          rows: int64 [r]: log rows, visible or not
          length: at least 1

        Returns:
          (items int32 [r, length], oldest first, padded at the end with -1;
           timestamps int64 [r, length], seconds since 1970, padded with 0)
        """
        return self._read(*self._before(rows, length))

    def rows_before(self, rows: np.ndarray, length: int) -> np.ndarray:
        """int64 [r, length]: the log rows of the events that `before` gives, padded with -1."""
        at, real = self._before(rows, length)
        if self._rows is None:
            raise DataError("`rows` must be True for `rows_before`. Received: False. Ask for rows from the start.")
        return np.where(real, self._rows[at] if len(self._rows) else 0, -1)

    def _before(self, rows: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """(places of events [r, length], 0 at padding; bool [r, length]: False at padding)."""
        if length < 1:
            raise DataError(invalid("length", "be at least 1", length, "Or leave the history feature out."))
        if self._timed:
            return _window(self._starts[self._user[rows]], self._ends[rows], length)
        begin, end = (self._starts[self._user[rows] + i] for i in (0, 1))
        own = self._own[rows]
        here = own >= 0
        after, count = np.where(here, own + 1 - begin, 0), end - begin
        at = (after[:, None] + np.arange(length)) % np.maximum(count, 1)[:, None] + begin[:, None]
        real = np.arange(length) < (count - here)[:, None]
        return np.where(real, at, 0), real

    def latest(self, users: np.ndarray | Sequence[int], length: int) -> tuple[np.ndarray, np.ndarray]:
        """The last `length` visible events of each user: `before` for a request after the whole log.

        Args:
          users: int32 [r]: rows of the user table
        """
        users = np.asarray(users)
        return self._read(*_window(self._starts[users], self._starts[users + 1], length))

    def _read(self, at: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(self._items) == 0:
            return np.full(at.shape, -1, np.int32), np.zeros(at.shape, np.int64)
        items, timestamps = self._items[at], self._timestamps[at].astype(np.int64)
        items[~real] = -1
        timestamps[~real] = 0
        return items, timestamps


def _window(begin: np.ndarray, end: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    begin = np.maximum(begin, end - length)
    at = begin[:, None] + np.arange(length)
    real = at < end[:, None]
    return np.where(real, at, 0), real


def _small(timestamp: np.ndarray) -> npt.DTypeLike:
    """uint32 if all of the ascending seconds fit (1970 to 2106), else their own type."""
    fits = not len(timestamp) or (timestamp[0] >= 0 and timestamp[-1] < 2**32)
    return np.uint32 if fits else timestamp.dtype
