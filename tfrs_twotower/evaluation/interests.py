"""The difference of the interests of one query."""

from dataclasses import dataclass

import numpy as np

_FIRST = 10  # items of each interest that are compared


@dataclass(frozen=True)
class Interests:
    """Means over queries and over pairs of their interests.

    Attributes:
      cosine: of the two vectors; 1: the interests are the same.
      overlap: share of the first ten items of one interest that are among those of the other.
    """

    cosine: float
    overlap: float


def interests(queries: np.ndarray, candidates: np.ndarray, block: int = 256) -> Interests:
    """Measures [q, interests, dim] query vectors, two interests or more, against [n, dim] candidates."""
    queries, candidates = np.asarray(queries, np.float32), np.asarray(candidates, np.float32)
    first, second = np.triu_indices(queries.shape[1], 1)
    lengths = np.linalg.norm(queries, axis=2, keepdims=True)
    unit = queries / np.where(lengths > 0, lengths, 1.0)
    cosine = np.einsum("qpd,qpd->qp", unit[:, first], unit[:, second]).mean()
    depth = min(_FIRST, len(candidates))
    common = []
    for start in range(0, len(queries), block):
        scores = queries[start:start + block] @ candidates.T
        best = np.sort(np.argpartition(-scores, depth - 1, axis=2)[:, :, :depth], axis=2)
        both = np.sort(np.concatenate([best[:, first], best[:, second]], axis=2), axis=2)
        common.append((both[:, :, 1:] == both[:, :, :-1]).sum(axis=2).ravel())
    return Interests(float(cosine), float(np.concatenate(common).mean() / depth))
