"""What the encoders of several interests share: one vector for each interest, beside the same context."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfrs_twotower.features import SequenceEmbedding, derive_seed
from tfrs_twotower.towers.mlp import MLP, MLPEncoder
from tfrs_twotower.towers.sequence import split_sequence
from tfrs_twotower.towers.tower import Tower

PLACES = 512  # of a sequence that are told apart


class InterestEncoder(tf.keras.layers.Layer):
    """Base of the multi-interest encoders: a subclass gives `extract`, `attend` and, if interests may lack, `used`.

    Every interest is joined to the other fields' embeddings (profile, context of the request) and goes through
    the same dense layers.

    Args:
      hidden: an `MLP`.
      seed: from which its weights and dropout derive theirs.
    """

    def __init__(self, hidden: MLP, seed: int, name: str) -> None:
        super().__init__(name=name)
        self._hidden = MLPEncoder(hidden, derive_seed(seed, "hidden"))
        self.keeps_zero = self._hidden.keeps_zero

    def extract(self, sequence: SequenceEmbedding, training: bool = False) -> tf.Tensor:
        """`SequenceEmbedding` → float32 [batch, interests, any]."""
        raise NotImplementedError

    def attend(self, scores: tf.Tensor, used: tf.Tensor | None = None) -> tf.Tensor:
        """How much each interest counts for the item that it is trained to find (label-aware attention).

        Args:
          scores: [batch, interests], of the interests with that item.
          used: what `used` returns; an unused interest counts nothing.

        Returns:
          [batch, interests], with a sum of 1.
        """
        raise NotImplementedError

    def used(self, tower: Tower, encoded: Mapping[str, Mapping[str, tf.Tensor]]) -> tf.Tensor | None:
        """bool [batch, interests]: False where an interest is only a copy that fills a place; None: all are used.

        Args:
          tower: the `Tower` of this encoder.
          encoded: what its `encode` returned.
        """
        return None

    def call(self, embeddings: Sequence[tf.Tensor | SequenceEmbedding], training: bool = False) -> tf.Tensor:
        """The fields' embeddings → [batch, interests, any]."""
        sequence, others = split_sequence(embeddings)
        interests = self.extract(sequence, training=training)
        count = interests.shape[1]
        others = [tf.repeat(other[:, tf.newaxis], count, axis=1) for other in others]
        return self._hidden([interests, *others], training=training)
