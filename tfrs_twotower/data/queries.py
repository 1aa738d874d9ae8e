"""Queries: one user at one moment, with seen items and targets."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfrs_twotower.data import blocks
from tfrs_twotower.data.grouping import grouped
from tfrs_twotower.data.log import InteractionLog
from tfrs_twotower.data.ragged import Ragged, ranges


@dataclasses.dataclass(frozen=True, eq=False)
class Queries:
    """The queries of a split.

    Attributes:
      user: int32 [q]
      timestamp: int64 [q]: the moment of the request, seconds since 1970
      row: int64 [q]: a log row. The request has its context, and the history ends before it
      targets: Ragged, a list per query: item rows that the model should retrieve, distinct, in the order of the events
      seen: Ragged, a list per query: item rows of the user's events before the request, distinct
    """

    user: np.ndarray
    timestamp: np.ndarray
    row: np.ndarray
    targets: Ragged
    seen: Ragged

    @classmethod
    def none(cls) -> Queries:
        """No queries, for a split that only trains."""
        ids, nothing = np.zeros(0, np.int64), Ragged.from_lists([])
        return cls(ids.astype(np.int32), ids, ids, nothing, nothing)

    def take(self, rows: np.ndarray) -> Queries:
        """The `Queries` at the given positions, in that order."""
        targets, seen = self.targets.take(rows), self.seen.take(rows)
        return Queries(self.user[rows], self.timestamp[rows], self.row[rows], targets, seen)

    def __len__(self) -> int:
        return len(self.row)


class QueryBuilder:
    """Builds queries from spans of the users' own events.

    Args:
      log: InteractionLog

    Attributes:
      order: int32 [n] (int64 from 2³¹ on): log rows by user, each user's in time order
      starts: int64 [users + 1]: user u's events are `order[starts[u]:starts[u + 1]]`
      place: of the same type [n]: the position in `order` of each log row
    """

    def __init__(self, log: InteractionLog) -> None:
        self._log = log
        self.order = grouped(log.user, len(log.users))
        self.starts = np.zeros(len(log.users) + 1, np.int64)
        np.cumsum(blocks.counts(log.user, len(log.users)), out=self.starts[1:])
        self.place = blocks.places(self.order)

    def spans(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(users, first rows, last rows): the first and the last of `rows` of each user who has any."""
        mask = np.zeros(len(self._log), bool)
        mask[rows] = True
        mine = self.order[blocks.take(mask, self.order)]
        users, first = np.unique(self._log.user[mine], return_index=True)
        last = np.append(first[1:], len(mine)) - 1
        return users, mine[first], mine[last] if len(mine) else mine[first]

    def build(self, first: np.ndarray, last: np.ndarray, at: np.ndarray | None = None) -> Queries:
        """One query for each pair of log rows of one user.

        Args:
          first, last: int64 [q]: the targets are the items of the user's events from `first` to `last`
          at: int64 [q]: the request's row, `first` by default

        Returns:
          Queries; `seen` are the items of the user's events before `at`
        """
        at = first if at is None else at
        user = self._log.user[at]
        return Queries(
            user=user,
            timestamp=self._log.timestamp[at],
            row=np.asarray(at, np.int64),
            targets=self._items(self.place[first], self.place[last] + 1),
            seen=self._items(self.starts[user], self.place[at]),
        )

    def _items(self, begin: np.ndarray, end: np.ndarray) -> Ragged:
        """Distinct items of `order[begin[i]:end[i]]`, in the order of their first event, as Ragged."""
        return distinct(self._log.item[self.order[ranges(begin, end)]], end - begin, len(self._log.items))


def distinct(items: np.ndarray, lengths: np.ndarray, size: int) -> Ragged:
    """Ragged rows without repeats, in the order of first appearance.

    Args:
      items: int32 [total]: the rows one after the other
      lengths: int64 [rows]
      size: items in the catalogue
    """
    row = np.repeat(np.arange(len(lengths)), lengths)
    first = np.sort(np.unique(row * np.int64(size) + items, return_index=True)[1])
    return Ragged.from_lengths(items[first], np.bincount(row[first], minlength=len(lengths)))
