"""A reranker applied to the retrieved rows of a catalogue."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfrs_twotower.rerankers.reranker import Reranker


class Reranking(tf.Module):
    """A trained `Reranker`, and its input for every item of the catalogue.

    Args:
      reranker: a `Reranker`.
      items: float32 [n, …], its `candidate` of the catalogue.
    """

    def __init__(self, reranker: Reranker, items: np.ndarray | tf.Tensor) -> None:
        super().__init__(name="reranking")
        self.reranker, self.top = reranker, reranker.top
        self.items = tf.Variable(items, trainable=False, name="items")

    def added(self, encoded: Mapping[str, Mapping[str, tf.Tensor]], vectors: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """The numbers to add to the scores of catalogue rows [batch, m] (−1: any number): [batch, m].

        Args:
          encoded, vectors: of the queries; see `Reranker.query`.
        """
        query = self.reranker.query(encoded, vectors)
        return self.reranker(query, tf.gather(self.items, tf.maximum(rows, 0)))


def reorder(scores: tf.Tensor, rows: tf.Tensor, added: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Retrieved answers in the order of their new scores: (scores, rows), [batch, m] as before.

    Only the first N are reordered, among themselves. The others follow in their order. If they would score higher
    than the last of the N, all their scores are lowered by the same number.

    Args:
      scores, rows: [batch, m], best first; −inf pads.
      added: [batch, N], N ≤ m, to the scores of the first N.
    """
    count = tf.shape(added)[1]
    head, tail = scores[:, :count] + added, scores[:, count:]
    order = tf.argsort(head, axis=1, direction="DESCENDING", stable=True)
    head, first = tf.gather(head, order, batch_dims=1), tf.gather(rows[:, :count], order, batch_dims=1)
    lowest = tf.reduce_min(tf.where(tf.math.is_finite(head), head, float("inf")), axis=1, keepdims=True)
    highest = tf.reduce_max(tf.pad(tail, [[0, 0], [0, 1]], constant_values=float("-inf")), axis=1, keepdims=True)
    tail -= tf.maximum(highest - lowest, 0.0)
    return tf.concat([head, tail], axis=1), tf.concat([first, rows[:, count:]], axis=1)
