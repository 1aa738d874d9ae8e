"""Vectors of items from the graph of users and items, by LightGCN's propagation."""

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg


def item_vectors(users: np.ndarray, items: np.ndarray, factors: int, layers: int, seed: int = 0) -> np.ndarray:
    """The items' vectors after the propagation of start vectors over the graph.

    Reference: He et al. 2020, "LightGCN: simplifying and powering graph convolution network for recommendation". Of
    the matrix R of users and items with 1 where a user met an item, Ã = D_u^−½ R D_i^−½ is normalised by degrees.
    Layer k + 1 is E_u ← Ã E_i, E_i ← Ãᵀ E_u; the result is the mean of layers 0 … K. Layer 0 is not
    learned as in LightGCN: it is made of the leading singular vectors of Ã. So component j is weighted by the mean of
    σⱼ⁰ … σⱼᴷ, a low-pass filter on the graph (Shen et al. 2021).

    Args:
      users, items: int [n], user and item of each pair, numbered from 0. Each number occurs; repeats count once.
      factors: length of the vectors; if the graph has fewer singular vectors, the rest are zeros.
      layers: K, at least 0.
      seed: of the search for singular vectors.

    Returns:
      float32 [items, factors], each of length 1, so that vectors of rare and popular items have the same size.
    """
    shape = int(users.max()) + 1, int(items.max()) + 1
    matrix = scipy.sparse.csr_matrix((np.ones(len(users)), (users, items)), shape)
    matrix.data[:] = 1.0
    by_user, by_item = (1 / np.sqrt(np.asarray(matrix.sum(axis=axis)).ravel()) for axis in (1, 0))
    matrix = scipy.sparse.diags(by_user) @ matrix @ scipy.sparse.diags(by_item)
    of_users, of_items = _singular_vectors(matrix, min(factors, *shape), seed)
    total = of_items.copy()
    for _ in range(layers):
        of_users, of_items = matrix @ of_items, matrix.T @ of_users
        total += of_items
    vectors = np.zeros((shape[1], factors), np.float32)
    vectors[:, : total.shape[1]] = total / np.linalg.norm(total, axis=1, keepdims=True)
    return vectors


def aligned(vectors: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """Vectors of a grown graph, rotated to the basis of the earlier one.

    The singular vectors of a grown graph have another order and other signs, but the weights were trained with the
    earlier ones. The orthogonal matrix R that minimises ‖VR − W‖ keeps lengths and inner products (Schönemann 1966,
    "A generalized solution of the orthogonal Procrustes problem").

    Args:
      vectors: float32 [items, factors]; zeros for an item that the grown graph lacks.
      earlier: float32 [known, factors], of the first `known` items.

    Returns:
      float32 [items, factors]; an item that the grown graph lacks keeps its earlier vector.
    """
    there: np.ndarray = vectors.any(axis=1)  # type: ignore[assignment]  # no scalar: there is another axis
    both = np.flatnonzero(there[: len(earlier)])
    rotated = vectors @ scipy.linalg.orthogonal_procrustes(vectors[both], earlier[both])[0]
    rotated[: len(earlier)][~there[: len(earlier)]] = earlier[~there[: len(earlier)]]
    return rotated


def _singular_vectors(matrix: scipy.sparse.csr_matrix, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(left [users, count], right [items, count]), largest singular values first, signs fixed."""
    if count >= min(matrix.shape):  # the iterative search finds fewer than all
        left, values, right = np.linalg.svd(matrix.toarray(), full_matrices=False)
    else:
        start = np.random.default_rng(seed).normal(size=min(matrix.shape))
        left, values, right = scipy.sparse.linalg.svds(matrix, count, v0=start)
    order = np.argsort(-values, kind="stable")[:count]
    left, right = left[:, order], right[order].T
    signs = np.sign(right[np.abs(right).argmax(axis=0), np.arange(right.shape[1])])
    return left * signs, right * signs
