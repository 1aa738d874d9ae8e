"""The popularity of items as a part of the score, ⟨u, v⟩ / τ + w · log p(item), that an index still finds.

One more dimension holds it: ⟨[u, 1], [v, τ·w·log p(item)]⟩ / τ is the same score.
"""

import numpy as np
import tensorflow as tf


def searched_queries(vectors: np.ndarray | tf.Tensor) -> tf.Tensor:
    """[..., dim] → [..., dim + 1]."""
    return tf.concat([vectors, tf.ones_like(vectors[..., :1])], axis=-1)


def searched_candidates(vectors: np.ndarray, log_popularity: np.ndarray, weight: float) -> tf.Tensor:
    """[n, dim] → [n, dim + 1]; `weight` is τ·w."""
    return tf.concat([vectors, weight * log_popularity[:, np.newaxis]], axis=-1)
