"""Rows that only grow, each with the moment of its death, so that readers need no lock."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

_ALIVE = np.iinfo(np.int64).max
_LEAST = 256  # rows of the first buffer


@dataclasses.dataclass(frozen=True)
class Rows:
    """A segment as it was at one moment. The buffers may be longer: rows from `count` on are not there yet."""

    ids: np.ndarray      # object (str) or int64 [≥ count]
    vectors: np.ndarray  # float32 [≥ count, dim]
    died: np.ndarray     # int64 [≥ count]: the moment from which a row is gone
    count: int

    def alive(self, moment: int) -> np.ndarray:
        """bool [count]: what is there at a moment that is no later than that of this view."""
        return self.died[:self.count] > moment


class Segment:
    """Appended to and killed in by one writer at a time, while any number of readers hold `rows()`.

    A reader sees the rows below its `count` that die after its moment. So a writer may append behind the count
    and mark deaths at later moments in the same buffers; larger buffers are copies, and old readers keep theirs.
    """

    def __init__(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """ids: object or int64 [n]; vectors: float32 [n, dim]; both are kept, not copied."""
        self._ids, self._vectors = ids, vectors
        self._died = np.full(len(ids), _ALIVE, np.int64)
        self.count = len(ids)

    @classmethod
    def empty(cls, id_type: type, dim: int) -> "Segment":
        """One without rows."""
        return cls(np.empty(0, object if id_type is str else np.int64), np.empty((0, dim), np.float32))

    def append(self, ids: Sequence[Any] | np.ndarray, vectors: np.ndarray) -> int:
        """Adds rows; returns the number of the first."""
        first, count = self.count, self.count + len(ids)
        if count > len(self._ids):
            self._grow(max(count, 2 * len(self._ids), _LEAST))
        self._ids[first:count] = ids
        self._vectors[first:count] = vectors
        self._died[first:count] = _ALIVE
        self.count = count
        return first

    def kill(self, row: int, moment: int) -> None:
        """Marks a row as gone from `moment` on, which must be later than that of every view handed out."""
        self._died[row] = moment

    def rows(self) -> Rows:
        """The rows as they are now."""
        return Rows(self._ids, self._vectors, self._died, self.count)

    def _grow(self, size: int) -> None:
        for name in ("_ids", "_vectors", "_died"):
            old = getattr(self, name)
            new = np.empty((size, *old.shape[1:]), old.dtype)
            new[:self.count] = old[:self.count]
            setattr(self, name, new)
