"""Dimensions that an export appends to the towers' vectors, so that an index searches by the whole score.

`PastVectors` appends the query's history, for `Neighbours`. `searched_queries` and `searched_candidates` append one
dimension for popularity: ⟨[u, 1], [v, τ·w·log p(item)]⟩ / τ is the score ⟨u, v⟩ / τ + w · log p(item).
"""

import numpy as np
import tensorflow as tf

_NOTHING = 1e-6  # a shorter sum is rounding error, as in `training.neighbours`


class PastVectors(tf.Module):
    """Computes, from the items of a history, the numbers that are appended to the query tower's vector.

    Args:
      past: float32 [n, dim]: a vector for each catalogue row, from `NeighbourVectors`.
      weight: τ·w.
      length: the number of newest events of a history that are read.
    """

    def __init__(self, past: np.ndarray, weight: float, length: int) -> None:
        super().__init__(name="past_vectors")
        self.past = tf.Variable(past, trainable=False, name="past")
        self.dim, self.length = int(past.shape[1]), length
        self._weight = weight

    def __call__(self, rows: tf.Tensor) -> tf.Tensor:
        """float32 [batch, dim] from catalogue rows [batch, any]. −1 is padding. No catalogue row occurs twice."""
        there = tf.where(rows >= 0)
        vectors = tf.gather(self.past, tf.gather_nd(rows, there))
        sums = tf.math.unsorted_segment_sum(vectors, there[:, 0], tf.shape(rows, tf.int64)[0])
        return self._weight * self.dim**0.5 * sums / tf.maximum(tf.norm(sums, axis=-1, keepdims=True), _NOTHING)


def searched_queries(vectors: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Query vectors [..., dim] with a 1 appended: [..., dim + 1]."""
    return tf.concat([vectors, tf.ones_like(vectors[..., :1])], axis=-1)


def searched_candidates(vectors: np.ndarray, log_popularity: np.ndarray, weight: float) -> tf.Tensor:
    """Candidate vectors [n, dim] with τ·w·log p(item) appended: [n, dim + 1]. `weight` is τ·w."""
    return tf.concat([vectors, weight * log_popularity[:, np.newaxis]], axis=-1)
