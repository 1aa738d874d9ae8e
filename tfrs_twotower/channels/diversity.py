"""Maximal marginal relevance: items that are good and unlike those before them."""

import numpy as np


def mmr(vectors: np.ndarray, n: int, diversity: float, chosen: np.ndarray | None = None) -> list[int]:
    """Chooses n of the items, in order: at each step the item with the largest

        (1 − diversity) · relevance − diversity · (largest cosine with a chosen item)

    The relevance of item r of m is 1 − r / m, by its rank alone: scores of different models have no common scale.
    The first term is in (0, 1], the second in [−1, 1], and 0 while nothing is chosen. Of equal values the better rank
    wins. Carbonell and Goldstein, "The use of MMR, diversity-based reranking", SIGIR 1998 (their λ is 1 − diversity).

    Args:
      vectors: float [m, dim], best item first; a vector of zeros is similar to none.
      n: at most m are chosen.
      diversity: from 0, the given order, to 1, the least similar items.
      chosen: float [c, dim], items that were chosen before, or None.

    Returns:
      list of min(n, m) positions.
    """
    units, order = _units(vectors), []
    worth = (1 - diversity) * (1 - np.arange(len(units)) / max(len(units), 1))
    likeness = None if chosen is None or not len(chosen) else (units @ _units(chosen).T).max(axis=1)
    for _ in range(min(n, len(units))):
        value = worth.copy() if likeness is None else worth - diversity * likeness
        value[order] = -np.inf
        best = int(np.argmax(value))
        order.append(best)
        cosine = units @ units[best]
        likeness = cosine if likeness is None else np.maximum(likeness, cosine)
    return order


def _units(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
