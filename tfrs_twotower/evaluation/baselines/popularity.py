"""Popularity: the same list for every user."""

import numpy as np


class Popularity:
    """A `Scorer` that gives every query the same scores: `counts` [n], for `size` queries."""

    light = True

    def __init__(self, counts: np.ndarray, size: int) -> None:
        self.size = size
        self.catalogue = len(counts)
        self._counts = np.asarray(counts, np.float32)

    def scores(self, start: int, stop: int) -> np.ndarray:
        """float32 [stop - start, n]: the counts, one row per query."""
        return np.broadcast_to(self._counts, (stop - start, self.catalogue))
