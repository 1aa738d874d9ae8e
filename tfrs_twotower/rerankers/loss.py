"""How a reranker is trained, beside the retrieval loss and on its batches."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.losses.reduction import weighted_mean
from tfrs_twotower.rerankers.reranker import Reranker, RerankerConfig
from tfrs_twotower.sampling import same_item, user_positives


class RerankerLoss(tf.keras.layers.Layer):
    """An auxiliary loss (see `models/auxiliary.py`): a softmax of what the reranker adds, over what is retrieved.

    Each row gets negatives that the retrieval itself would bring: other rows' positives c, drawn in proportion to
    e^{s(c)} / p(c). Those are draws from the retrieval's softmax over the catalogue, because c comes into the batch
    with p(c). Between the positive and draws from e^{s}, the added number h that is best is log p(positive) − s, but
    for a constant (noise-contrastive estimation, Gutmann and Hyvärinen 2010): what s misses. So s + h is right, and h
    alone is in this loss. No gradient goes through the vectors into the towers, so that a reranker of vectors alone
    leaves the retrieval as it is; the fields that a reranker reads do learn from it.

    Args:
      settings: a `RerankerConfig`, of which it reads `negatives`, a row's, and `weight`, of this loss.
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

    # Any: a `TwoTowerModel` and its `Positives`, which are of a layer above; a batch nests dicts of tensors.
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
        """int32 [n, negatives]: places in the batch; never of the row's own item or a known positive of its user.

        (Unless nothing else is there, in a very small batch.)
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
