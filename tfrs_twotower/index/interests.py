"""Search with queries that are several vectors each."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.index.candidate_index import CandidateIndex, TopK, padded
from tfrs_twotower.scores import best


def search_interests(index: CandidateIndex, queries: tf.Tensor, k: int | tf.Tensor) -> TopK:
    """The k candidates whose best ⟨interest, candidate⟩ is largest, each once: `TopK` [batch, k]. Graph code.

    The rule is that of `scores.best_of_interests`, but an index returns its answers and not the scores of all. A
    candidate among the k best by the maximum is also among the k best of the interest with that maximum. So the k best
    of each interest are enough.

    Args:
      index: a `CandidateIndex`; one that is no `tf.Module` gets NumPy arrays, outside of graphs.
      queries: float32 [batch, interests, dim], or [batch, dim]: `index.search` itself.
      k: int or int32 scalar tensor, at least 1.
    """
    if not isinstance(index, tf.Module) and not tf.is_symbolic_tensor(queries):
        queries, k = np.asarray(queries), int(k)
    if len(queries.shape) == 2:
        return index.search(queries, k)
    flat = queries.reshape(-1, index.dim) if isinstance(queries, np.ndarray) else tf.reshape(queries, [-1, index.dim])
    found = index.search(flat, k)
    side_by_side = [tf.shape(queries)[0], queries.shape[1] * k]
    return merged(tf.reshape(found.scores, side_by_side), tf.reshape(found.rows, side_by_side), k)


def merged(scores: tf.Tensor, rows: tf.Tensor, k: int | tf.Tensor) -> TopK:
    """The k best of [batch, m] answers as `TopK`, of answers with the same row the best one; row −1 is none."""
    order = tf.argsort(scores, axis=1, direction="DESCENDING", stable=True)
    scores, rows = tf.gather(scores, order, batch_dims=1), tf.gather(rows, order, batch_dims=1)
    order = tf.argsort(rows, axis=1, stable=True)  # equal rows side by side, the best score first
    scores, rows = tf.gather(scores, order, batch_dims=1), tf.gather(rows, order, batch_dims=1)
    again = tf.pad(rows[:, 1:] == rows[:, :-1], [[0, 0], [1, 0]])
    return padded(*best(tf.where(again, float("-inf"), scores), rows, k), k)
