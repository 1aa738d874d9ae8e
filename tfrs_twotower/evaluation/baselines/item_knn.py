"""Items bought together: the nearest neighbours of each."""

import numpy as np
from scipy import sparse

from tfrs_twotower.errors import EvaluationError, invalid

_SIMILARITIES_AT_ONCE = 8_000_000


class ItemKNN:
    """Item-kNN by co-visitation (Sarwar et al. 2001; Deshpande and Karypis 2004).

    The similarity of two items is the cosine of their sets of training users,
    |U(i) ∩ U(j)| / √(|U(i)| · |U(j)|), kept for each item's nearest `neighbours` and 0 with itself.

    Args:
      visits: float32 CSR [users, n]: 1 for each pair.
      neighbours: similar items kept for each item, at least 1.
    """

    def __init__(self, visits: sparse.csr_matrix, neighbours: int = 100) -> None:
        if neighbours < 1:
            raise EvaluationError(invalid("neighbours", "be at least 1", neighbours, "Raise it."))
        audience = np.asarray(visits.sum(axis=0)).ravel()
        self._fallback = (-1.0 / (1.0 + audience)).astype(np.float32)
        self._similar = _neighbours(visits, audience, neighbours)

    def scorer(self, history: sparse.csr_matrix) -> "_Scorer":
        """A `Scorer` for `history`, CSR [q, n]."""
        return _Scorer(history, self._similar, self._fallback)


class _Scorer:
    """A candidate's score is the sum of its similarities with the items of the history, by the history's weights.

    Candidates with no similarity come after all others, by popularity: −1 / (1 + users).
    """

    light = True

    def __init__(self, history: sparse.csr_matrix, similar: sparse.csr_matrix, fallback: np.ndarray) -> None:
        self.size, self.catalogue = history.shape
        self._history, self._similar, self._fallback = history, similar, fallback

    def scores(self, start: int, stop: int) -> np.ndarray:
        """float32 [stop - start, n]."""
        near = (self._history[start:stop] @ self._similar).tocoo()
        found = np.tile(self._fallback, (stop - start, 1))
        some = near.data > 0
        found[near.row[some], near.col[some]] = near.data[some]
        return found


def _neighbours(visits: sparse.csr_matrix, audience: np.ndarray, neighbours: int) -> sparse.csr_matrix:
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
