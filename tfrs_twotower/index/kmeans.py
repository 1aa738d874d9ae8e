"""k-means for the leaves of the IVF index: sampled, blocked, seeded, safe against empty clusters."""

import numpy as np

_BLOCK = 1 << 24  # floats in one block of distances (64 MB)
_ITERATIONS = 10
_SAMPLE = 64  # vectors a leaf to train on


def is_unit(vectors: np.ndarray) -> bool:
    """True when every row has norm 1 (within 1e-3): then clusters are directions."""
    return bool(np.all(np.abs(np.einsum("nd,nd->n", vectors, vectors) - 1) < 2e-3))


def train(vectors: np.ndarray, leaves: int, seed: int) -> np.ndarray:
    """Lloyd's k-means on a sample of 64 vectors per leaf; spherical if all vectors have norm 1.

    vectors: float32 [n, dim]; leaves ≤ n. Returns centroids, float32 [leaves, dim].
    """
    generator = np.random.default_rng(seed)
    size = min(len(vectors), _SAMPLE * leaves)
    sample = vectors[np.sort(generator.choice(len(vectors), size, replace=False))]
    spherical = is_unit(vectors)
    centroids = sample[generator.choice(size, leaves, replace=False)].copy()
    for _ in range(_ITERATIONS):
        leaf = assign(sample, centroids)
        counts, sums = _sums(sample, leaf, leaves)
        filled: np.ndarray = counts > 0
        centroids[filled] = sums[filled] / counts[filled, np.newaxis]
        # An empty cluster restarts at a random vector, most likely one of a crowded cluster.
        centroids[~filled] = sample[generator.choice(size, np.sum(~filled))]
        if spherical:
            centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
    return centroids


def assign(vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The nearest centroid (squared distance) of each vector: int32 [n]."""
    half_norm = np.einsum("ld,ld->l", centroids, centroids) / 2
    rows = max(1, _BLOCK // len(centroids))
    return np.concatenate([
        np.argmax(vectors[i:i + rows] @ centroids.T - half_norm, axis=1).astype(np.int32)
        for i in range(0, len(vectors), rows)
    ])


def _sums(vectors: np.ndarray, leaf: np.ndarray, leaves: int) -> tuple[np.ndarray, np.ndarray]:
    """Count [leaves] and sum [leaves, dim] of each leaf's vectors."""
    counts = np.bincount(leaf, minlength=leaves)
    order = np.argsort(leaf, kind="stable")
    filled = np.flatnonzero(counts)
    starts = np.cumsum(counts) - counts
    sums = np.zeros((leaves, vectors.shape[1]), np.float32)
    sums[filled] = np.add.reduceat(vectors[order], starts[filled], axis=0)
    return counts, sums
