"""What every reranker is: a layer that says what is to be added to the retrieval's scores."""

from collections.abc import Mapping

import tensorflow as tf

from tfrs_twotower.configuration import Layered
from tfrs_twotower.features import derive_seed
from tfrs_twotower.ranges import Count, Positive
from tfrs_twotower.towers import MLP
from tfrs_twotower.towers.mlp import MLPEncoder


class RerankerConfig(Layered):
    """Base of the rerankers' configurations. Its layer, a `Reranker`, is made as `layer(configuration, query tower,
    candidate tower, seed)`.

    Attributes:
      widths: units of the dense layers.
      top: how many retrieved candidates are rescored.
      negatives, weight: of its training; see `RerankerLoss`.
    """

    widths: tuple[Count, ...]
    top: Count
    negatives: Count
    weight: Positive


class Reranker(tf.keras.layers.Layer):
    """Base of the rerankers: a subclass gives `query`, `candidate` and `inputs`.

    The score is the retrieval's plus the output of dense layers, which begins at 0 for all: so training starts from
    the retrieval's order.

    Args:
      settings: a `RerankerConfig`.
      seed: from which the weights derive theirs.
    """

    def __init__(self, settings: RerankerConfig, seed: int, name: str) -> None:
        super().__init__(name=name)
        self.top = settings.top
        self._hidden = MLPEncoder(MLP(widths=settings.widths), derive_seed(seed, "hidden"))
        self._output = tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="output")

    def query(
        self, encoded: Mapping[str, Mapping[str, tf.Tensor]], vectors: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """What is read of queries: float32 [batch, any …].

        Args:
          encoded: what the query tower's `encode` returns.
          vectors: [batch, dim], what the query tower returns.
        """
        raise NotImplementedError

    def candidate(
        self, encoded: Mapping[str, Mapping[str, tf.Tensor]], vectors: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """The same of candidates. An export keeps it for every item of its catalogue."""
        raise NotImplementedError

    def inputs(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """What the dense layers read of each pair: [batch, m, any], of [batch, …] and [batch, m, …]."""
        raise NotImplementedError

    def call(self, query: tf.Tensor, candidates: tf.Tensor, training: bool = False) -> tf.Tensor:
        """What is added to the scores: [batch, m]."""
        hidden = self._hidden([self.inputs(query, candidates)], training=training)
        return tf.cast(tf.squeeze(self._output(hidden), axis=-1), tf.float32)  # as scores are, at any precision
