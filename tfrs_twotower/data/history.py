"""What a user did before a moment: the same code for training rows and for queries."""

from __future__ import annotations

import numpy as np

from tfrs_twotower.errors import DataError, invalid


class History:
    """The users' events in the order (user, time, row order).

    Args:
      log: InteractionLog
      visible: bool [n]: events that a history may show, or None: all of them
    """

    def __init__(self, log, visible=None):
        n = len(log)
        visible = np.ones(n, bool) if visible is None else np.asarray(visible)
        if visible.dtype != bool or visible.shape != (n,):
            received = f"{visible.dtype} {list(visible.shape)}"
            raise DataError(invalid("visible", f"be bool [{n}]", received, "Give one truth value an event."))
        order = np.argsort(log.user, kind="stable")
        shown = order[visible[order]]
        self._items, self._timestamps = log.item[shown], log.timestamp[shown]
        self._user = log.user
        self._starts = np.zeros(len(log.users) + 1, np.int64)
        np.cumsum(np.bincount(log.user[shown], minlength=len(log.users)), out=self._starts[1:])
        # Visible events before each row in the sorted order: where the row's history ends.
        self._ends = np.empty(n, np.int64)
        self._ends[order] = np.cumsum(visible[order]) - visible[order]

    def before(self, rows, length):
        """The last `length` visible events of each row's user strictly before the row.

        Events of the same second are ordered by row.

        Args:
          rows: int64 [r]: log rows, visible or not
          length: at least 1

        Returns:
          (items int32 [r, length], oldest first, padded at the end with -1;
           timestamps int64 [r, length], seconds since 1970, padded with 0)
        """
        return self._window(self._starts[self._user[rows]], self._ends[rows], length)

    def latest(self, users, length):
        """As `before`, for a request after all of the log: the last `length` visible events of each user.

        Args:
          users: int32 [r]: rows of the user table
        """
        users = np.asarray(users)
        return self._window(self._starts[users], self._starts[users + 1], length)

    def _window(self, begin, end, length):
        if length < 1:
            raise DataError(invalid("length", "be at least 1", length, "Or leave the history feature out."))
        begin = np.maximum(begin, end - length)
        at = begin[:, None] + np.arange(length)
        real = at < end[:, None]
        at[~real] = 0
        if len(self._items) == 0:
            return np.full(at.shape, -1, np.int32), np.zeros(at.shape, np.int64)
        items, timestamps = self._items[at], self._timestamps[at]
        items[~real] = -1
        timestamps[~real] = 0
        return items, timestamps
