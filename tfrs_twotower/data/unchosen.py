"""What is no event of a log: items that users saw and did not choose, and searches that chose none."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data import values

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
        again = again_in(self.user, self.item, self.timestamp, part)
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


def dropped(kinds: pa.ChunkedArray | pa.Array) -> np.ndarray | None:
    """bool [n]: whether each kind of event is `DROPPED`; None if none is."""
    if not values.is_text(kinds.type):
        return None
    found = pc.fill_null(pc.equal(kinds, DROPPED), False).to_numpy(zero_copy_only=False)
    return found if found.any() else None


def again_in(user: np.ndarray, item: np.ndarray, timestamp: np.ndarray, part: np.ndarray) -> np.ndarray:
    """bool [n]: rows that an earlier part has too, by user, item and time; none without times. Times ascend."""
    again = np.zeros(len(part), bool)
    rows = np.flatnonzero(part)
    if len(rows) and timestamp[-1] > 0:
        between = slice(*np.searchsorted(timestamp, [timestamp[rows[0]], timestamp[rows[-1]] + 1]))
        keys = {"user": user[between], "item": item[between], "timestamp": timestamp[between]}
        rest = pd.DataFrame({**keys, "part": part[between]})
        again[between] = rest["part"] > rest.groupby([*keys])["part"].transform("min")
    return again
