"""SASRec: a causal Transformer over the user's history (Kang and McAuley 2018), pre-norm."""

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features import SequenceEmbedding, derive_seed
from tfrs_twotower.ranges import Count, DropoutRate
from tfrs_twotower.towers.encoder import Encoder
from tfrs_twotower.towers.mlp import Dropout
from tfrs_twotower.towers.relative_bias import RelativeBias, causal, time_buckets
from tfrs_twotower.towers.sequence import SequenceEncoder, Tokens, dense, layer_norm


@config
class SASRec(Encoder):
    """Blocks of x + attention(norm(x)), then x + feed-forward(norm(x)); a normalisation at the end.

    A learned bias tells positions apart by their distance, not by absolute position. So a window cut out of a
    long history looks like any other.

    Attributes:
      blocks: blocks, one after the other.
      heads: attention heads of a block; they divide the items' dim.
      feed_forward: hidden units of the feed-forward layers, in multiples of the items' dim.
      time_bias: whether attention knows the time between events, beside their distance in positions.
      dropout: share of the numbers that training drops, at the input and after each half of a block.
      length: the sequence's length: distances with a bias of their own.
    """

    blocks: Count = 2
    heads: Count = 2
    feed_forward: Count = 2
    time_bias: bool = True
    dropout: DropoutRate = 0.2
    length: Count = 200


@layer_of(SASRec)
class SASRecEncoder(SequenceEncoder):
    """Encoder of `SASRec`.

    Args:
      settings: a `SASRec`.
      seed: of weights and dropout.
    """

    def __init__(self, settings: SASRec, seed: int = 0) -> None:
        super().__init__(seed, name="sasrec")
        self._tokens = Tokens(settings.dropout, seed)
        self._blocks = [_Block(settings, derive_seed(seed, str(i)), f"block_{i}") for i in range(settings.blocks)]
        self._norm = layer_norm("norm")

    def sequence(self, sequence: SequenceEmbedding, training: bool = False) -> tf.Tensor:
        states = self._tokens(sequence, training=training)
        buckets = time_buckets(sequence)
        for block in self._blocks:
            states = block(states, buckets, training=training)
        return self._norm(states)

    def attention(self, sequence: SequenceEmbedding) -> list[tf.Tensor]:
        """The attention of each position: a list of [batch, heads, length, length], one for each block."""
        states, buckets, found = self._tokens(sequence), time_buckets(sequence), []
        for block in self._blocks:
            found.append(block.attention(states, buckets))
            states = block(states, buckets)
        return found


class _Block(tf.keras.layers.Layer):
    def __init__(self, settings: SASRec, seed: int, name: str) -> None:
        super().__init__(name=name)
        self._settings, self._seed = settings, seed
        self._norm, self._norm_forward = layer_norm("norm"), layer_norm("norm_forward")
        self._bias = RelativeBias(settings.heads, settings.length, settings.time_bias)
        drop = [Dropout(settings.dropout, derive_seed(seed, f"dropout/{i}"), name=f"dropout_{i}") for i in range(2)]
        self._drop_attended, self._drop_forward = drop

    def build(self, states_shape: tf.TensorShape) -> None:
        dim, heads = states_shape[-1], self._settings.heads
        if dim % heads:
            rule = f"divide the items' dim of {dim}"
            raise ConfigError(invalid("SASRec.heads", rule, heads, "Use 1, or another dim in Id('item_id')."))
        self._split = dense(3 * dim, self._seed, "split")
        self._join = dense(dim, self._seed, "join")
        self._wide = dense(self._settings.feed_forward * dim, self._seed, "wide", activation="relu")
        self._narrow = dense(dim, self._seed, "narrow")
        super().build(states_shape)

    def call(self, states: tf.Tensor, buckets: tf.Tensor, training: bool = False) -> tf.Tensor:
        """states: [batch, length, dim]; buckets: the result of `time_buckets`."""
        attended = self._attend(states, buckets)
        states += self._drop_attended(self._join(attended), training=training)
        forward = self._narrow(self._wide(self._norm_forward(states)))
        return states + self._drop_forward(forward, training=training)

    def attention(self, states: tf.Tensor, buckets: tf.Tensor) -> tf.Tensor:
        """[batch, heads, length, length]: for each position, the weights of all positions (last axis)."""
        return self._weighted(states, buckets)[0]

    def _attend(self, states: tf.Tensor, buckets: tf.Tensor) -> tf.Tensor:
        weights, value = self._weighted(states, buckets)
        attended = tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3])
        return tf.reshape(attended, tf.shape(states))

    def _weighted(self, states: tf.Tensor, buckets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(the attention, the values that it weighs)."""
        batch, length = tf.unstack(tf.shape(states)[:2])
        heads, dim = self._settings.heads, states.shape[-1]
        parts = tf.reshape(self._split(self._norm(states)), [batch, length, 3, heads, dim // heads])
        query, key, value = tf.unstack(tf.transpose(parts, [2, 0, 3, 1, 4]))
        scores = tf.matmul(query * (dim // heads) ** -0.5, key, transpose_b=True)
        allowed = tf.where(causal(length) > 0, 0.0, float("-inf"))
        return tf.nn.softmax(scores + (self._bias(length, buckets) + allowed)), value
