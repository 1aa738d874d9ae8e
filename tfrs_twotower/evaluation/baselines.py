"""What every model has to beat: popularity, and items bought together."""

import numpy as np
from scipy import sparse

from tfrs_twotower.errors import EvaluationError, invalid

WEEK = 7 * 24 * 3600
_SIMILARITIES_AT_ONCE = 8_000_000


def item_counts(items, catalogue):
    """int64 [catalogue]: events of each candidate. `items`: a candidate position an event, −1 is ignored."""
    items = np.asarray(items)
    return np.bincount(items[items >= 0], minlength=catalogue)


def recent_counts(items, timestamps, catalogue, seconds=WEEK):
    """`item_counts` of the last `seconds` before the latest of `timestamps` (training rows' alone)."""
    timestamps = np.asarray(timestamps)
    return item_counts(np.asarray(items)[timestamps > timestamps.max() - seconds], catalogue)


class Popularity:
    """A `Scorer` that gives every query the same scores: `counts` [n], for `size` queries."""

    def __init__(self, counts, size):
        self.size = size
        self.catalogue = len(counts)
        self._counts = np.asarray(counts, np.float32)

    def scores(self, start, stop):
        """float32 [stop - start, n]: the counts, once a query."""
        return np.broadcast_to(self._counts, (stop - start, self.catalogue))


class ItemKNN:
    """Item-kNN by co-visitation (Sarwar et al. 2001; Deshpande and Karypis 2004), a `Scorer`.

    The similarity of two items is the cosine of their sets of training users,
    |U(i) ∩ U(j)| / √(|U(i)| · |U(j)|), kept for each item's nearest `neighbours` and 0 with itself. A
    candidate's score is the sum of the similarities between it and the last `last` items of the query's
    history. Candidates with no similarity come after all others, by popularity: −1 / (1 + users).

    Args:
      users, items: int [events]: training pairs; items are candidate positions (−1 is ignored).
      histories: `Ragged`, q rows of candidate positions, oldest first (−1 is ignored).
      catalogue: number of candidates n.
      last: items of the history that count, at least 1.
      neighbours: similar items kept for each item, at least 1.

    The defaults are near the best of (5 … 50) × (20 … 200) on the validation events of MovieLens-100K and
    Amazon Beauty, leave-last-out: the baseline is meant to be hard to beat.
    """

    def __init__(self, users, items, histories, catalogue, last=10, neighbours=100):
        if min(last, neighbours) < 1:
            name, value = ("last", last) if last < 1 else ("neighbours", neighbours)
            raise EvaluationError(invalid(name, "be at least 1", value, "Raise it."))
        self.size = len(histories.offsets) - 1
        self.catalogue = catalogue
        self._visits = _visits(np.asarray(users), np.asarray(items), catalogue)
        audience = np.asarray(self._visits.sum(axis=0)).ravel()
        self._fallback = (-1.0 / (1.0 + audience)).astype(np.float32)
        self._similar = _neighbours(self._visits, audience, neighbours)
        self._recent = _last_items(histories, last, catalogue)

    def scores(self, start, stop):
        """float32 [stop - start, n]."""
        found = (self._recent[start:stop] @ self._similar).toarray()
        return np.where(found > 0, found, self._fallback)


def _visits(users, items, catalogue):
    """float32 CSR [users, n]: 1 for each distinct pair."""
    known = items >= 0
    people, rows = np.unique(users[known], return_inverse=True)
    visits = sparse.csr_matrix(
        (np.ones(len(rows), np.float32), (rows, items[known])), shape=(len(people), catalogue)
    )
    visits.sum_duplicates()
    visits.data[:] = 1.0
    return visits


def _neighbours(visits, audience, neighbours):
    """float32 CSR [n, n]: row i holds the largest similarities of item i."""
    scale = sparse.diags_array((1.0 / np.sqrt(np.maximum(audience, 1.0))).astype(np.float32))
    unit = (visits @ scale).tocsr()
    columns = unit.T.tocsr()
    rows = max(1, _SIMILARITIES_AT_ONCE // visits.shape[1])
    near, values = [], []
    for start in range(0, visits.shape[1], rows):
        block = columns[start : start + rows] @ unit
        for item, (first, end) in enumerate(zip(block.indptr[:-1], block.indptr[1:]), start):
            others, similarity = block.indices[first:end], block.data[first:end]
            similarity[others == item] = 0.0
            if len(others) > neighbours:
                best = np.argpartition(similarity, -neighbours)[-neighbours:]
                others, similarity = others[best], similarity[best]
            near.append(others.copy())  # a view would keep the whole block
            values.append(similarity.copy())
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in near])])
    return sparse.csr_matrix((np.concatenate(values), np.concatenate(near), indptr), shape=(len(near),) * 2)


def _last_items(histories, last, catalogue):
    """float32 CSR [q, n]: how often an item stands among the last `last` of each row."""
    lengths = np.diff(histories.offsets)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    from_end = np.repeat(histories.offsets[1:], lengths) - np.arange(len(rows))
    kept = (from_end <= last) & (np.asarray(histories.values) >= 0)
    values = np.ones(int(kept.sum()), np.float32)
    place = (rows[kept], np.asarray(histories.values)[kept])
    return sparse.csr_matrix((values, place), shape=(len(lengths), catalogue))
