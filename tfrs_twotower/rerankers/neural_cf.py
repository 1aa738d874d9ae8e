"""NeuralCF: an MLP on both towers' vectors rescores the retrieved top (He et al. 2017)."""

from collections.abc import Mapping

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.ranges import Count, Positive
from tfrs_twotower.rerankers.reranker import Reranker, RerankerConfig
from tfrs_twotower.towers import EnsembleTower, Tower


@config
class NeuralCF(RerankerConfig):
    """Score ⟨u, v⟩ / τ + MLP([u, v, u ⊙ v]): NeuMF, with the retrieval's score for its linear part.

    In the paper, linear part and MLP have their own tables and score all items. Here both read the towers'
    vectors, and the MLP scores only the retrieved top.

    Attributes:
      widths: units of the MLP's layers.
      top: the number of retrieved candidates to rescore.
      negatives: per row, in training; see `RerankerLoss`.
      weight: of its loss beside the retrieval loss.
    """

    widths: tuple[Count, ...] = (64, 32)
    top: Count = 100
    negatives: Count = 20
    weight: Positive = 1.0


@layer_of(NeuralCF)
class NeuralCFReranker(Reranker):
    """Reranker of `NeuralCF`.

    Args:
      settings: a `NeuralCF`.
      query_tower, candidate_tower: not used; every reranker is made with them.
      seed: of the weights.
    """

    def __init__(
        self, settings: NeuralCF, query_tower: Tower | EnsembleTower, candidate_tower: Tower | EnsembleTower,
        seed: int = 0,
    ) -> None:
        super().__init__(settings, seed, name="neural_cf")

    def query(
        self, encoded: Mapping[str, Mapping[str, tf.Tensor]], vectors: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        return vectors

    def candidate(
        self, encoded: Mapping[str, Mapping[str, tf.Tensor]], vectors: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        return vectors

    def inputs(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        size = candidates.shape[-1] ** 0.5  # scales numbers to about 1, as the vectors have length 1
        query = tf.broadcast_to(query[:, tf.newaxis] * size, tf.shape(candidates))
        candidates = candidates * size
        return tf.concat([query, candidates, query * candidates], axis=-1)
