"""The base of encoders of several interests: one vector for each interest, joined to the same context."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfrs_twotower.features import SequenceEmbedding, derive_seed
from tfrs_twotower.towers.mlp import MLP, MLPEncoder
from tfrs_twotower.towers.sequence import split_sequence
from tfrs_twotower.towers.tower import Tower

PLACES = 512  # positions of a sequence that are told apart


class InterestEncoder(tf.keras.layers.Layer):
    """Base of the multi-interest encoders: a subclass defines `extract`, `attend` and, if some may be missing, `used`.

    Every interest is joined to the other fields' embeddings (profile, context of the request) and goes through
    the same dense layers.

    Args:
      hidden: an `MLP`.
      seed: of weights and dropout.
    """

    def __init__(self, hidden: MLP, seed: int, name: str) -> None:
        super().__init__(name=name)
        self._hidden = MLPEncoder(hidden, derive_seed(seed, "hidden"))
        self.keeps_zero = self._hidden.keeps_zero

    def extract(self, sequence: SequenceEmbedding, training: bool = False) -> tf.Tensor:
        """`SequenceEmbedding` → float32 [batch, interests, any]."""
        raise NotImplementedError

    def attend(self, scores: tf.Tensor, used: tf.Tensor | None = None) -> tf.Tensor:
        """The weight of each interest for the row's positive, in training (label-aware attention).

        Args:
          scores: [batch, interests], of the interests with that item.
          used: the result of `used`; an unused interest has weight 0.

        Returns:
          [batch, interests], with a sum of 1.
        """
        raise NotImplementedError

    def used(self, tower: Tower, encoded: Mapping[str, Mapping[str, tf.Tensor]]) -> tf.Tensor | None:
        """bool [batch, interests]: False for a copy that only fills the shape; None: all are used.

        Args:
          tower: the `Tower` of this encoder.
          encoded: the result of its `encode`.
        """
        return None

    def call(self, embeddings: Sequence[tf.Tensor | SequenceEmbedding], training: bool = False) -> tf.Tensor:
        """The fields' embeddings → [batch, interests, any]."""
        sequence, others = split_sequence(embeddings)
        interests = self.extract(sequence, training=training)
        count = interests.shape[1]
        others = [tf.repeat(other[:, tf.newaxis], count, axis=1) for other in others]
        return self._hidden([interests, *others], training=training)
