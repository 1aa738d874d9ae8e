"""The base of rerankers: layers whose output is added to the retrieval's scores."""

from collections.abc import Mapping

import tensorflow as tf

from tfrs_twotower.configuration import Layered
from tfrs_twotower.features import derive_seed
from tfrs_twotower.ranges import Count, Positive
from tfrs_twotower.towers import MLP
from tfrs_twotower.towers.mlp import MLPEncoder


class RerankerConfig(Layered):
    """Base of the rerankers' configurations.

    Its layer, a `Reranker`, is made as `layer(configuration, query tower, candidate tower, seed)`.

    Attributes:
      widths: units of the dense layers.
      top: the number of retrieved candidates to rescore.
      negatives, weight: of its training; see `RerankerLoss`.
    """

    widths: tuple[Count, ...]
    top: Count
    negatives: Count
    weight: Positive


class Reranker(tf.keras.layers.Layer):
    """Base of the rerankers: a subclass defines `query`, `candidate` and `inputs`.

    The score is the retrieval's plus the output of dense layers. That output is 0 at first, so training starts from
    the retrieval's order.

    Args:
      settings: a `RerankerConfig`.
      seed: of the weights.
    """

    def __init__(self, settings: RerankerConfig, seed: int, name: str) -> None:
        super().__init__(name=name)
        self.top = settings.top
        self._hidden = MLPEncoder(MLP(widths=settings.widths), derive_seed(seed, "hidden"))
        self._output = tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="output")

    def query(
        self, encoded: Mapping[str, Mapping[str, tf.Tensor]], vectors: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """The reranker's input from queries: float32 [batch, any …].

        Args:
          encoded: the result of the query tower's `encode`.
          vectors: [batch, dim], the query tower's output.
        """
        raise NotImplementedError

    def candidate(
        self, encoded: Mapping[str, Mapping[str, tf.Tensor]], vectors: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """The same for candidates. An export keeps it for every item of its catalogue."""
        raise NotImplementedError

    def inputs(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """The dense layers' input for each pair: [batch, m, any], from [batch, …] and [batch, m, …]."""
        raise NotImplementedError

    def call(self, query: tf.Tensor, candidates: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The numbers that are added to the scores: [batch, m]."""
        hidden = self._hidden([self.inputs(query, candidates)], training=training)
        return tf.cast(tf.squeeze(self._output(hidden), axis=-1), tf.float32)  # as scores are, at any precision
