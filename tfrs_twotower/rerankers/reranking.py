"""A reranker applied to the retrieved rows of a catalogue, in an export and in an evaluation."""

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
        return added(self.reranker, self.items, encoded, vectors, rows)


def added(
    reranker: Reranker, items: tf.Tensor, encoded: Mapping[str, Mapping[str, tf.Tensor]], vectors: tf.Tensor,
    rows: tf.Tensor,
) -> tf.Tensor:
    """What a reranker adds to the scores of rows of `items`; see `Reranking`, of which an evaluation has the parts."""
    return reranker(reranker.query(encoded, vectors), tf.gather(items, tf.maximum(rows, 0)))


def overlap(head: tf.Tensor, behind: tf.Tensor) -> tf.Tensor:
    """float32 [batch, 1]: how far the best of the scores `behind` is above the lowest of the rescored `head`.

    Both are [batch, any]. It is 0 or less, down to −inf, where nothing is in the way. In the head what is not finite is
    nothing. An export lowers what stands behind by it (`reorder`). An evaluation has the scores of all and raises the
    head (`RerankedScorer`).
    """
    lowest = tf.reduce_min(tf.where(tf.math.is_finite(head), head, float("inf")), axis=1, keepdims=True)
    highest = tf.reduce_max(tf.pad(behind, [[0, 0], [0, 1]], constant_values=float("-inf")), axis=1, keepdims=True)
    return highest - lowest


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
    tail -= tf.maximum(overlap(head, tail), 0.0)
    return tf.concat([head, tail], axis=1), tf.concat([first, rows[:, count:]], axis=1)
