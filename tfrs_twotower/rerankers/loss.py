"""The loss of a reranker, beside the retrieval loss and on its batches."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.losses.reduction import weighted_mean
from tfrs_twotower.rerankers.reranker import Reranker, RerankerConfig
from tfrs_twotower.sampling import same_item, user_positives


class RerankerLoss(tf.keras.layers.Layer):
    """An auxiliary loss (see `models/auxiliary.py`): a softmax of the numbers h that the reranker adds to scores.

    Each row gets negatives like those that retrieval would give it: other rows' positives c, drawn in proportion to
    e^{s(c)} / p(c). As c is in the batch with probability p(c), these are draws from the retrieval's softmax over the
    catalogue. Against draws from e^{s}, the best h is log p(positive) − s, up to a constant (noise-contrastive
    estimation, Gutmann and Hyvärinen 2010). That is the error of s. So s + h is right, and this loss needs h alone.
    No gradient goes through the vectors into the towers. So a reranker that reads only vectors does not change the
    retrieval. The fields that a reranker reads do learn from it.

    Args:
      settings: a `RerankerConfig`; it reads `negatives` (per row) and `weight` (of this loss).
      reranker: a `Reranker`.
      log_popularity: float32 [items], log p of every item among the positives.
      seed: of the draws.
    """

    def __init__(
        self, settings: RerankerConfig, reranker: Reranker, log_popularity: np.ndarray, seed: int = 0
    ) -> None:
        super().__init__(name="reranker_loss")
        self._autocast = False  # scores are float32 under mixed precision too
        self.reranker = reranker
        self._settings = settings
        self._log_popularity = tf.constant(log_popularity, tf.float32)
        self._generator = tf.random.Generator.from_seed(seed, alg="philox")

    # Any: a `TwoTowerModel` and its `Positives`, from a layer above; a batch nests dicts of tensors.
    def call(
        self, model: Any, batch: Mapping[str, Any], queries: tf.Tensor, candidates: tf.Tensor, positives: Any,
        training: bool = False,
    ) -> tf.Tensor:
        """The loss, a scalar."""
        count = tf.shape(positives.rows)[0]
        queries, candidates = tf.stop_gradient(queries), tf.stop_gradient(candidates)
        drawn = self.draw(queries, candidates, positives, model.objective.temperature.value())
        places = tf.concat([tf.range(count)[:, tf.newaxis], drawn], axis=1)
        query = self.reranker.query(batch["query"], queries, training=training)
        candidate = self.reranker.candidate(batch["candidate"], candidates, training=training)
        added = self.reranker(query, tf.gather(candidate, places), training=training)
        losses = -tf.nn.log_softmax(added)[:, 0]
        return self._settings.weight * weighted_mean(losses, positives.weight)

    # Any: as for `call`.
    def draw(
        self, queries: tf.Tensor, candidates: tf.Tensor, positives: Any, temperature: float | tf.Tensor
    ) -> tf.Tensor:
        """int32 [n, negatives]: batch rows, without the row's own item and known positives of its user.

        A very small batch may have no others; then these are used.
        """
        scores = tf.matmul(tf.cast(queries, tf.float32), tf.cast(candidates, tf.float32), transpose_b=True)
        scores = scores / temperature - tf.gather(self._log_popularity, positives.rows)
        hidden = tf.logical_or(
            same_item(positives.rows, positives.rows), user_positives(positives.rows, positives.known)
        )
        share = tf.cumsum(tf.nn.softmax(tf.where(hidden, scores.dtype.min, scores)), axis=1)
        count = tf.shape(scores)[0]
        drawn = self._generator.uniform([count, self._settings.negatives])
        return tf.minimum(tf.searchsorted(share, drawn * share[:, -1:], side="right"), count - 1)
