"""EASE's weights between the most frequent items, factorised into vectors for an inner product."""

import numpy as np
from scipy import sparse

from tfrs_twotower.evaluation import EASE
from tfrs_twotower.models import NeighbourVectors

_OVERSAMPLING, _ITERATIONS = 10, 4


def neighbour_vectors(visits, penalty, dim, items, seed=0):
    """`NeighbourVectors` from the training events.

    B are EASE's weights for the most frequent items (Steck 2019), V the r leading eigenvectors of (X B)ᵀ X B. Of all
    matrices C of rank r, C = B V Vᵀ makes |X B − X C| smallest (Eckart and Young). So a past has the sum of rows of
    B V, and an item has a row of V. As V's columns are orthonormal, |x B V| is the size of the scores of a history x:
    its direction alone gives everybody scores of one size.

    Args:
      visits: float32 CSR [users, n] X: 1 for each pair of a user and an item.
      penalty: λ of EASE.
      dim: length of the vectors; where fewer items are known, the rest is zeros.
      items: the most frequent so many items have vectors.
      seed: of the eigenvectors' start.
    """
    counts = np.asarray(visits.sum(axis=0)).ravel()
    kept = np.argsort(-counts, kind="stable")[:items]
    kept = kept[counts[kept] > 0]
    past, found = (np.zeros([visits.shape[1], dim], np.float32) for _ in range(2))
    if len(kept) > 1:
        visits = sparse.csr_matrix(visits[:, kept])
        gram = (visits.T @ visits).toarray()
        weights = EASE(visits, penalty).weights
        rank = min(dim, len(kept))
        basis = _leading(weights, gram, rank, seed)
        # Both sides are about as long as the towers' unit vectors.
        past[kept, :rank], found[kept, :rank] = weights @ basis, basis * np.sqrt(len(kept) / rank)
    return NeighbourVectors(past, found)


def pooled(history, past):
    """float32 [q, dim]: each row's sum of `past` vectors, of the length √dim; zeros without a known item.

    Args:
      history: float CSR [q, n], a row for each past: 1 for each of its items.
      past: as in `NeighbourVectors`.
    """
    sums = np.asarray(history @ past, np.float32)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums * np.sqrt(past.shape[1]), lengths, out=np.zeros_like(sums), where=lengths > 0)


def _leading(weights, gram, rank, seed):
    """float32 [n, rank], orthonormal: the leading eigenvectors of weightsᵀ gram weights, by subspace iteration."""
    rng, size = np.random.default_rng(seed), len(weights)
    basis = rng.normal(size=(size, min(rank + _OVERSAMPLING, size))).astype(np.float32)
    for _ in range(_ITERATIONS):
        basis = np.linalg.qr(basis)[0]
        basis = weights.T @ (gram @ (weights @ basis))
    basis = np.linalg.qr(basis)[0]
    image = weights @ basis
    order = np.linalg.eigh(image.T @ (gram @ image))[1][:, ::-1]
    return (basis @ order)[:, :rank]
