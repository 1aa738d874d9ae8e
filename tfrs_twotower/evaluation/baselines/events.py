"""The data of baselines as sparse matrices: training pairs and the histories of queries."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.evaluation.views import query_rows

WEEK = 7 * 24 * 3600
_HALF_LIFE = 10.0  # events after which one of a "decayed" history counts half
_WEIGHTS = {  # the weight of an event, by the number of later events
    "last_5": lambda since: since < 5,
    "last_10": lambda since: since < 10,
    "last_20": lambda since: since < 20,
    "decayed": lambda since: 2.0 ** (-since / _HALF_LIFE),
    "all": lambda since: np.ones(len(since)),
}
HISTORIES = tuple(_WEIGHTS)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingEvents:
    """The training events of baselines.

    Attributes:
      users: int [events].
      items: int [events]: candidate positions; −1 is ignored.
      timestamps: int64 [events]: seconds.
      catalogue: number of candidates n.
    """

    users: np.ndarray
    items: np.ndarray
    timestamps: np.ndarray
    catalogue: int

    def visits(self) -> sparse.csr_matrix:
        """float32 CSR [users with an event, n]: 1 for each distinct pair."""
        known = self.items >= 0
        people, rows = np.unique(self.users[known], return_inverse=True)
        place = rows, self.items[known]
        return _ones(sparse.csr_matrix((np.ones(len(rows), np.float32), place), (len(people), self.catalogue)))

    def counts(self) -> np.ndarray:
        """int64 [n]: events of each candidate."""
        return item_counts(self.items, self.catalogue)


def item_counts(items: np.ndarray | Sequence[int], catalogue: int) -> np.ndarray:
    """int64 [catalogue]: events of each candidate. `items`: a candidate position per event, −1 is ignored."""
    items = np.asarray(items)
    return np.bincount(items[items >= 0], minlength=catalogue)


def recent_counts(
    items: np.ndarray | Sequence[int], timestamps: np.ndarray | Sequence[int], catalogue: int, seconds: float = WEEK
) -> np.ndarray:
    """`item_counts` of the last `seconds` before the latest of `timestamps` (training rows' alone)."""
    timestamps = np.asarray(timestamps)
    return item_counts(np.asarray(items)[timestamps > timestamps.max() - seconds], catalogue)


def history_matrix(histories: Ragged, catalogue: int, kind: str) -> sparse.csr_matrix:
    """float32 CSR [q, n]: the weights of the items in each history.

    Args:
      histories: `Ragged`, q rows of candidate positions, oldest first (−1 is ignored).
      catalogue: number of candidates n.
      kind: one of `HISTORIES`: "last_N": how often an item stands among the last N events; "decayed": the sum of
        2^(−later events / 10); "all": 1 for each item.
    """
    values = np.asarray(histories.values)
    since = np.repeat(histories.offsets[1:], histories.lengths) - 1 - np.arange(len(values))
    weight = np.where(values >= 0, _WEIGHTS[kind](since), 0.0).astype(np.float32)
    kept = weight > 0
    place = query_rows(histories)[kept], values[kept]
    found = sparse.csr_matrix((weight[kept], place), (len(histories), catalogue))
    return _ones(found) if kind == "all" else found


def _ones(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
