"""HSTU: pointwise attention over the user's history (Zhai et al. 2024, "Actions speak louder than words")."""

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.features import SequenceEmbedding, derive_seed
from tfrs_twotower.ranges import Count, DropoutRate
from tfrs_twotower.towers.encoder import Encoder
from tfrs_twotower.towers.mlp import Dropout
from tfrs_twotower.towers.relative_bias import RelativeBias, causal, time_buckets
from tfrs_twotower.towers.sequence import SequenceEncoder, Tokens, dense, layer_norm


@config
class HSTU(Encoder):
    """Blocks of x + f₂( norm(A·V) ⊙ U ), A = silu(Q·Kᵀ + bias) / length, [U V Q K] = silu(f₁(norm(x))).

    Without a softmax the attention keeps *how many* events are alike, not only which ones.

    Attributes:
      blocks: blocks, one after the other.
      heads: attention heads of a block; each has `width` numbers.
      width: of U, V, Q and K of a head.
      time_bias: whether attention knows the time between events, beside their distance in positions.
      dropout: share of the numbers that training drops, at the input and before each f₂.
      length: the sequence's length: distances with a bias of their own, and the divisor of A.
    """

    blocks: Count = 2
    heads: Count = 1
    width: Count = 64
    time_bias: bool = True
    dropout: DropoutRate = 0.2
    length: Count = 200


@layer_of(HSTU)
class HSTUEncoder(SequenceEncoder):
    """Encoder of `HSTU`.

    Args:
      settings: an `HSTU`.
      seed: of weights and dropout.
    """

    def __init__(self, settings: HSTU, seed: int = 0) -> None:
        super().__init__(seed, name="hstu")
        self._tokens = Tokens(settings.dropout, seed)
        self._blocks = [_Block(settings, derive_seed(seed, str(i)), f"block_{i}") for i in range(settings.blocks)]

    def sequence(self, sequence: SequenceEmbedding, training: bool = False) -> tf.Tensor:
        states = self._tokens(sequence, training=training)
        buckets = time_buckets(sequence)
        for block in self._blocks:
            states = block(states, buckets, training=training)
        return states


class _Block(tf.keras.layers.Layer):
    def __init__(self, settings: HSTU, seed: int, name: str) -> None:
        super().__init__(name=name)
        self._heads, self._width, self._length = settings.heads, settings.width, settings.length
        self._norm, self._norm_attended = layer_norm("norm"), layer_norm("norm_attended")
        self._bias = RelativeBias(settings.heads, settings.length, settings.time_bias)
        self._split = dense(4 * settings.heads * settings.width, seed, "split", use_bias=False, activation="silu")
        self._dropout = Dropout(settings.dropout, derive_seed(seed, "dropout"), name="dropout")
        self._seed = seed

    def build(self, states_shape: tf.TensorShape) -> None:
        self._join = dense(states_shape[-1], self._seed, "join")
        super().build(states_shape)

    def call(self, states: tf.Tensor, buckets: tf.Tensor, training: bool = False) -> tf.Tensor:
        """states: [batch, length, dim]; buckets: the result of `time_buckets`."""
        length = tf.shape(states)[1]
        gate, value, query, key = tf.split(self._split(self._norm(states)), 4, axis=-1)
        scores = tf.matmul(self._by_head(query), self._by_head(key), transpose_b=True)
        scores = tf.nn.silu(scores + self._bias(length, buckets)) * (causal(length) / self._length)
        attended = tf.transpose(tf.matmul(scores, self._by_head(value)), [0, 2, 1, 3])
        attended = tf.reshape(attended, tf.shape(gate))
        return states + self._join(self._dropout(self._norm_attended(attended) * gate, training=training))

    def _by_head(self, values: tf.Tensor) -> tf.Tensor:
        """[batch, length, heads·width] → [batch, heads, length, width]."""
        batch, length = tf.unstack(tf.shape(values)[:2])
        return tf.transpose(tf.reshape(values, [batch, length, self._heads, self._width]), [0, 2, 1, 3])
