"""Hard negatives: items that the model itself ranks high for a row, but not at the very top."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.sampling.draws import Draws
from tfrs_twotower.sampling.negatives import Hard


class HardNegatives(tf.keras.layers.Layer):
    """Draws from the ranks `first` to `last` of an exact search in the catalogue's vectors.

    The vectors are those of the last refresh. A step computes one product of the batch with the catalogue, so it
    suits catalogues up to some hundred thousand items.

    Args:
      settings: a `Hard`. In a small catalogue, ranks beyond its end count as its last ones.
      catalogue: int32 [n], item rows.
      dim: size of the candidate vectors.
      seed: of the draws.
    """

    def __init__(self, settings: Hard, catalogue: np.ndarray, dim: int, seed: int = 0) -> None:
        super().__init__(name="hard_negatives")
        self.refresh_steps = settings.refresh_steps
        self._count = settings.count
        self._last = min(settings.last, len(catalogue))
        self._first = min(settings.first, self._last)
        self.catalogue = tf.constant(catalogue, tf.int32)
        self._vectors = tf.Variable(tf.zeros([len(catalogue), dim]), trainable=False, name="vectors")
        self._draws = Draws(seed)

    def refresh(self, vectors: np.ndarray | tf.Tensor) -> None:
        """Sets the catalogue's vectors, float32 [n, dim]."""
        self._vectors.assign(vectors)

    def draw(
        self, queries: tf.Tensor, places: tf.Tensor | None = None, size: int | tf.Tensor | None = None
    ) -> tf.Tensor:
        """int32 [rows, count] item rows for queries [rows, dim]; drawn with replacement.

        Args:
          queries: a batch, or a part of one.
          places, size: int32 [rows], the places of the part's rows in the whole batch, and the number of its rows.
        """
        size, ranked = tf.shape(queries)[0] if size is None else size, self.ranked(queries)
        ranks = self._draws.uniform([size, self._count], self._first - 1, self._last, tf.int32)
        ranks = ranks if places is None else tf.gather(ranks, places)
        return tf.gather(self.catalogue, tf.gather(ranked, ranks, batch_dims=1))

    def ranked(self, queries: tf.Tensor) -> tf.Tensor:
        """int32 [rows, last]: the positions of the best items in the catalogue, best first."""
        scores = tf.matmul(tf.stop_gradient(tf.cast(queries, tf.float32)), self._vectors, transpose_b=True)
        return tf.math.top_k(scores, self._last, sorted=True).indices
