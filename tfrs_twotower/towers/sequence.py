"""The base of sequence encoders: one state for each event of the history; a request uses the last one."""

from collections.abc import Sequence
from typing import Any, TypeVar

import tensorflow as tf

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import SequenceEmbedding, derive_seed
from tfrs_twotower.towers.mlp import Dropout

_T = TypeVar("_T")

GAPS = 64  # log buckets of time; the last begins after two hundred years


def log_bucket(seconds: tf.Tensor) -> tf.Tensor:
    """int32 of the shape of `seconds` (int32): ⌊2·log₂(1 + s)⌋ for s > 0, and 0 for s = 0.

    There is a bucket for each factor of √2, as people's pauses differ by factors. At most `GAPS` − 1.
    """
    steps = tf.math.log1p(tf.cast(tf.maximum(seconds, 0), tf.float32)) * (2.0 / 0.6931472)
    return tf.minimum(tf.cast(steps, tf.int32), GAPS - 1)


def split_sequence(embeddings: Sequence[tf.Tensor | SequenceEmbedding]) -> tuple[SequenceEmbedding, list[tf.Tensor]]:
    """(the `SequenceEmbedding`, the other fields' [batch, dᵢ]) of a tower's embeddings.

    Raises:
      ConfigError: there is no sequence, or more than one.
    """
    sequences = [e for e in embeddings if isinstance(e, SequenceEmbedding)]
    return only_sequence(sequences), [e for e in embeddings if not isinstance(e, SequenceEmbedding)]


def only_sequence(sequences: Sequence[_T]) -> _T:
    """The one element of a list of a query's sequences; raises `ConfigError` if there are none, or more."""
    if len(sequences) != 1:
        raise ConfigError(
            f"A sequence encoder needs one Sequence among the query's features. Received: {len(sequences)}. "
            "Add Sequence() to `Schema.query`."
        )
    return sequences[0]


class SequenceEncoder(tf.keras.layers.Layer):
    """Base of the sequence encoders: a subclass defines `sequence`.

    The other fields' embeddings (profile, context of the request) are concatenated with the state, for the tower's
    projection. An empty history has a learned state.

    Args:
      seed: of the start state.
      options: of a Keras layer.
    """

    def __init__(self, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self._start = _Start(derive_seed(seed, "start"))

    def sequence(self, sequence: SequenceEmbedding, training: bool = False) -> tf.Tensor:
        """`SequenceEmbedding` → float32 [batch, length, dim]: the state after each event; at padding anything.

        Causal: the state at a position depends on no later event.
        """
        raise NotImplementedError

    def at(
        self, sequence: SequenceEmbedding, row: tf.Tensor, place: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """The states at chosen positions, [n, dim]; row, place: int32 [n], row of the batch and position in it."""
        return tf.gather_nd(self.sequence(sequence, training=training), tf.stack([row, place], axis=1))

    def call(self, embeddings: Sequence[tf.Tensor | SequenceEmbedding], training: bool = False) -> tf.Tensor:
        """The fields' embeddings → [batch, any]: the state after the last event, or the start state."""
        sequence, others = split_sequence(embeddings)
        count = tf.reduce_sum(tf.cast(sequence.valid, tf.int32), axis=1)
        last = self.at(sequence, tf.range(tf.size(count)), tf.maximum(count - 1, 0), training=training)
        return tf.concat([tf.where(count[:, tf.newaxis] > 0, last, self._start(last)), *others], axis=-1)

    def at_positions(
        self, embeddings: Sequence[tf.Tensor | SequenceEmbedding], starts: int | tf.Tensor = 0, training: bool = False
    ) -> tf.Tensor:
        """As `call`, but after every event, and then for the start of `starts` histories: [events + starts, any].

        Events of all sequences follow one another, and the other fields' embeddings are [events + starts, dᵢ].
        """
        sequence, others = split_sequence(embeddings)
        row, place = tf.unstack(tf.cast(tf.where(sequence.valid), tf.int32), axis=1)
        states = self.at(sequence, row, place, training=training)
        start = tf.repeat(self._start(states), starts, axis=0)
        return tf.concat([tf.concat([states, start], axis=0), *others], axis=-1)


class _Start(tf.keras.layers.Layer):
    """The learned state of a user without a history, with the size of other states."""

    def __init__(self, seed: int) -> None:
        super().__init__(name="start")
        self._seed = seed

    def build(self, states_shape: tf.TensorShape) -> None:
        start = tf.keras.initializers.RandomUniform(-0.05, 0.05, seed=self._seed)
        self._state = self.add_weight("state", (1, states_shape[-1]), initializer=start)
        super().build(states_shape)

    def call(self, states: tf.Tensor) -> tf.Tensor:
        return tf.convert_to_tensor(self._state)


class Tokens(tf.keras.layers.Layer):
    """The input of a sequence encoder: √dim · item + a vector for the time until the prediction of the next event."""

    def __init__(self, dropout: float, seed: int) -> None:
        super().__init__(name="tokens")
        self._seed = seed
        self._dropout = Dropout(dropout, derive_seed(seed, "tokens"), name="dropout")

    def build(self, input_shape: SequenceEmbedding) -> None:
        start = tf.keras.initializers.RandomUniform(-0.05, 0.05, seed=derive_seed(self._seed, "gap"))
        self._gap = self.add_weight("gap", (GAPS, input_shape.values[-1]), initializer=start)
        super().build(input_shape)

    def call(self, sequence: SequenceEmbedding, training: bool = False) -> tf.Tensor:
        """`SequenceEmbedding` → [batch, length, dim]."""
        dim = sequence.values.shape[-1]
        waited = log_bucket(sequence.age - sequence.asked)
        return self._dropout(sequence.values * dim**0.5 + tf.gather(self._gap, waited), training=training)


def dense(units: int, seed: int, name: str, **options: Any) -> tf.keras.layers.Dense:
    """A Keras dense layer, seeded by its name."""
    glorot = tf.keras.initializers.GlorotUniform(seed=derive_seed(seed, name))
    return tf.keras.layers.Dense(units, kernel_initializer=glorot, name=name, **options)


def layer_norm(name: str) -> tf.keras.layers.LayerNormalization:
    """A Keras layer normalisation."""
    return tf.keras.layers.LayerNormalization(epsilon=1e-6, name=name)
