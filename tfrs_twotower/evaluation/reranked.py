"""A retrieval with a reranked top, as a scorer."""

from collections.abc import Callable

import tensorflow as tf

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.evaluation.ranking import pairs
from tfrs_twotower.evaluation.scorers import DotScorer, SumScorer
from tfrs_twotower.rerankers import overlap


class RerankedScorer:
    """A `Scorer` that gives the best `top` candidates of each query new scores, above those of all others.

    Args:
      retrieval: a `DotScorer`, or another `Scorer` without `queries` and `candidates`.
      rescore: (start, stop, positions [stop − start, top]) → float32 of that shape, added to the scores of those
        candidates for the queries start … stop − 1.
      top: the number of candidates to rescore.
      exclude: `Ragged`, positions that are not retrieved, or None.
    """

    def __init__(
        self, retrieval: DotScorer | SumScorer, rescore: Callable[[int, int, tf.Tensor], tf.Tensor], top: int,
        exclude: Ragged | None = None,
    ) -> None:
        self.retrieval, self._rescore = retrieval, rescore
        self.size, self.catalogue = retrieval.size, retrieval.catalogue
        self._top = min(top, self.catalogue)
        self._exclude = exclude

    def scores(self, start: int, stop: int) -> tf.Tensor:
        """float32 [stop - start, n]."""
        scores = tf.convert_to_tensor(self.retrieval.scores(start, stop))
        values, positions = tf.math.top_k(self._open(scores, start, stop), min(self._top + 1, self.catalogue))
        behind, values, positions = values[:, self._top:], values[:, : self._top], positions[:, : self._top]
        found = values > float("-inf")
        values += self._rescore(start, stop, positions)
        values += tf.maximum(overlap(values, behind) + 1.0, 0.0)  # a tie would be drawn at random
        rows = tf.broadcast_to(tf.range(stop - start)[:, tf.newaxis], tf.shape(positions))
        cells = tf.boolean_mask(tf.stack([rows, positions], axis=2), found)
        return tf.tensor_scatter_nd_update(scores, cells, tf.boolean_mask(values, found))

    def _open(self, scores: tf.Tensor, start: int, stop: int) -> tf.Tensor:
        """`scores`, −inf for candidates that are not retrieved."""
        excluded = pairs(self._exclude, start, stop)
        return tf.tensor_scatter_nd_update(scores, excluded, tf.fill([len(excluded)], float("-inf")))
