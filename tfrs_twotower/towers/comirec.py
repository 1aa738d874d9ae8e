"""ComiRec-SA: several interests of one user by self-attention (Cen et al. 2020)."""

from collections.abc import Sequence

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.features import SequenceEmbedding, derive_seed
from tfrs_twotower.ranges import Count
from tfrs_twotower.towers.encoder import Encoder
from tfrs_twotower.towers.interests import PLACES, InterestEncoder
from tfrs_twotower.towers.mlp import MLP
from tfrs_twotower.towers.sequence import dense, split_sequence


@config
class ComiRec(Encoder):
    """Each interest is a mean of the history, with its own attention weights: softmax(W₂ tanh(W₁ (e + position))).

    Positions are counted from the newest event. In training, each positive trains only the interest that scores it
    highest.

    Attributes:
      interests: vectors of a query.
      attention: width of the tanh layer.
      hidden: dense layers after an interest is joined to the other features.
    """

    interests: Count = 4
    attention: Count = 128
    hidden: MLP = MLP(widths=(128,))


@layer_of(ComiRec)
class ComiRecEncoder(InterestEncoder):
    """Encoder of `ComiRec`.

    Args:
      settings: a `ComiRec`.
      seed: of weights and dropout.
    """

    def __init__(self, settings: ComiRec, seed: int = 0) -> None:
        super().__init__(settings.hidden, seed, name="comirec")
        self._settings, self._seed = settings, seed
        self._wide = dense(settings.attention, seed, "wide", use_bias=False, activation="tanh")
        self._narrow = dense(settings.interests, seed, "narrow", use_bias=False)

    def build(self, input_shape: Sequence[tf.TensorShape | SequenceEmbedding]) -> None:
        start = tf.keras.initializers.RandomUniform(-0.05, 0.05, seed=derive_seed(self._seed, "place"))
        dim = split_sequence(input_shape)[0].values[-1]
        self._place = self.add_weight("place", (PLACES, dim), initializer=start)
        super().build(input_shape)

    def extract(self, sequence: SequenceEmbedding, training: bool = False) -> tf.Tensor:
        return tf.matmul(self.attention(sequence), sequence.values)

    def attention(self, sequence: SequenceEmbedding) -> tf.Tensor:
        """The attention of each interest over the history: [batch, interests, length], 0 at padding."""
        count = tf.reduce_sum(tf.cast(sequence.valid, tf.int32), axis=1, keepdims=True)
        place = tf.clip_by_value(count - 1 - tf.range(tf.shape(sequence.values)[1]), 0, PLACES - 1)
        scores = self._narrow(self._wide(sequence.values + tf.gather(self._place, place)))
        scores = tf.where(sequence.valid[:, :, tf.newaxis], scores, scores.dtype.min)  # −inf: NaN without any event
        weights = tf.nn.softmax(scores, axis=1) * tf.cast(sequence.valid, scores.dtype)[:, :, tf.newaxis]
        return tf.transpose(weights, [0, 2, 1])

    def attend(self, scores: tf.Tensor, used: tf.Tensor | None = None) -> tf.Tensor:
        return tf.one_hot(tf.argmax(scores, axis=1), tf.shape(scores)[1], dtype=scores.dtype)
