"""The user's own earlier items: a baseline for logs in which users repeat items."""

import numpy as np

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.evaluation.views import query_rows


class BoughtBefore:
    """A `Scorer`: the user's own items, by frequency and then recency; then all others by popularity.

    Args:
      histories: `Ragged`, q rows of candidate positions, oldest first (−1 is ignored).
      counts: [n]: training events of each candidate.
    """

    light = True

    def __init__(self, histories: Ragged, counts: np.ndarray) -> None:
        self.size, self.catalogue = len(histories), len(counts)
        known = np.asarray(histories.values) >= 0
        cells = (query_rows(histories) * self.catalogue + histories.values)[known]
        self._cells, last, number = _last_and_number(cells, np.flatnonzero(known))
        rows = self._cells // self.catalogue
        order = np.lexsort((last, number, rows))
        starts = np.searchsorted(rows, np.arange(self.size))
        self._places = np.empty(len(order), np.float32)
        self._places[order] = 1 + np.arange(len(order)) - starts[rows]  # `order` keeps the rows together
        self._popularity = np.asarray(counts, np.float32) / (1.0 + np.max(counts, initial=0))

    def scores(self, start: int, stop: int) -> np.ndarray:
        """float32 [stop - start, n]: 1 and more for the user's own items, below 1 for all others."""
        scores = np.tile(self._popularity, stop - start)
        first, end = np.searchsorted(self._cells, [start * self.catalogue, stop * self.catalogue])
        scores[self._cells[first:end] - start * self.catalogue] = self._places[first:end]
        return scores.reshape(stop - start, self.catalogue)


def _last_and_number(cells: np.ndarray, moments: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(distinct cells, ascending; the last position of each; the count of each)."""
    distinct, place, number = np.unique(cells, return_inverse=True, return_counts=True)
    last = np.zeros(len(distinct), np.int64)
    np.maximum.at(last, place, moments)
    return distinct, last, number
