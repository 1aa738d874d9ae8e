"""The similarity of two items: the cosine of their vectors, minus the density of other items around each of them.

Cosines alone make hubs: central items, most of them popular, are among the nearest neighbours of many items.
`bench/bench_similar_items.py` compares this measure with others.
"""

import numpy as np
import tensorflow as tf

_SAMPLE = 512
_NEAREST = 0.03
_BLOCK = 8192  # vectors compared at a time


def unit(vectors: np.ndarray) -> np.ndarray:
    """float32 [n, dim]: the vectors scaled to length 1. A vector of zeros stays."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


class Similarity(tf.Module):
    """2 · cos(v, v') − r(v) − r(v'), where r is the mean cosine with the nearest 3% of a sample of 512 items.

    Reference: Conneau et al. 2018, "Word translation without parallel data" (CSLS), which takes neighbours from the
    whole set. With a sample an item costs 512 cosines, and so does an item that is added later. The nearest item of
    the sample does not count, as it may be the item itself. The similarity is one inner product, of
    [2v / |v|, 1, r(v)] and [v' / |v'|, −r(v'), −1].

    Args:
      vectors: float32 [n, dim], the vectors of the catalogue.
      seed: the seed of the sample.

    Attributes:
      sample: float32 [≤ 512, dim], vectors of length 1.
      lengths: float32 [n], the lengths of the vectors, above 0.
      density: float32 [n], r of each vector.
    """

    def __init__(self, vectors: np.ndarray, seed: int = 0) -> None:
        super().__init__(name="similarity")
        drawn = np.random.default_rng(seed).permutation(len(vectors))[:_SAMPLE]
        self.sample = tf.Variable(unit(vectors[np.sort(drawn)]), trainable=False, name="sample")
        lengths, density = measured(vectors, self.sample.numpy())
        self.lengths = tf.Variable(lengths, trainable=False, name="lengths")
        self.density = tf.Variable(density, trainable=False, name="density")


def measured(vectors: np.ndarray, sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lengths, r): float32 [n] each, for vectors [n, dim] and a sample [s, dim] of vectors of length 1."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12).astype(np.float32)
    count = min(max(round(_NEAREST * len(sample)), 1), len(sample) - 1)
    density = np.zeros(len(vectors), np.float32)
    for start in range(0, len(vectors) if count > 0 else 0, _BLOCK):
        part = slice(start, start + _BLOCK)
        cosines = -np.partition(-(vectors[part] / lengths[part, np.newaxis]) @ sample.T, count, axis=1)[:, : count + 1]
        density[part] = (cosines.sum(axis=1) - cosines.max(axis=1)) / count
    return lengths, density
