"""MIND: several interests of one user by dynamic routing (Li et al. 2019)."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.features import SequenceEmbedding, SequenceField, derive_seed
from tfrs_twotower.ranges import Count, NotNegative
from tfrs_twotower.towers.encoder import Encoder
from tfrs_twotower.towers.interests import PLACES, InterestEncoder
from tfrs_twotower.towers.mlp import MLP
from tfrs_twotower.towers.sequence import dense, only_sequence, split_sequence
from tfrs_twotower.towers.tower import Tower


@config
class MIND(Encoder):
    """Capsules over the history: events are routed to interests, by agreement, in a few rounds.

    The start values of the routing logits b are random and fixed (σ = 1). Each round computes, with e an event's vector
    and S one matrix for all interests: w = softmax of b over the interests, u = squash(Σ w · S e), b += ⟨u, S e⟩. A
    history of n events has max(1, min(interests, ⌊log₂ n⌋)) interests. Copies of the first fill the shape up; they
    change no maximum, and have no weight in training. Events are multiplied by √dim.

    Attributes:
      interests: vectors of a query, at most.
      iterations: rounds of routing.
      hidden: dense layers after an interest is joined to the other features.
      sharpness: in training, interests are mixed by the softmax of `sharpness` × their scores with the positive.
        With 0 all weigh the same; a large value picks the best. (The paper raises the scores to a power, with the
        same limits; our scores may be negative.)
    """

    interests: Count = 4
    iterations: Count = 3
    hidden: MLP = MLP(widths=(128,))
    sharpness: NotNegative = 5.0


@layer_of(MIND)
class MINDEncoder(InterestEncoder):
    """Encoder of `MIND`.

    Args:
      settings: a `MIND`.
      seed: of weights, routing logits and dropout.
    """

    def __init__(self, settings: MIND, seed: int = 0) -> None:
        super().__init__(settings.hidden, seed, name="mind")
        self._settings, self._seed = settings, seed

    def build(self, input_shape: Sequence[tf.TensorShape | SequenceEmbedding]) -> None:
        start = tf.keras.initializers.RandomNormal(stddev=1.0, seed=derive_seed(self._seed, "routing"))
        shape = (self._settings.interests, PLACES)
        self._logits = self.add_weight("routing_logits", shape, initializer=start, trainable=False)
        dim = split_sequence(input_shape)[0].values[-1]
        self._matrix = dense(dim, self._seed, "matrix", use_bias=False)
        super().build(input_shape)

    def extract(self, sequence: SequenceEmbedding, training: bool = False) -> tf.Tensor:
        scale = sequence.values.shape[-1] ** 0.5  # about 1; with smaller numbers the random start would decide
        events = self._matrix(sequence.values * scale)
        places = tf.range(tf.shape(events)[1]) % PLACES
        logits = tf.gather(self._logits, places, axis=1)[tf.newaxis]
        count = tf.reduce_sum(tf.cast(sequence.valid, tf.int32), axis=1)
        used = used_interests(count, self._settings.interests)
        return route(events, sequence.valid, logits, used, self._settings.iterations)

    def attend(self, scores: tf.Tensor, used: tf.Tensor | None = None) -> tf.Tensor:
        scores = self._settings.sharpness * scores
        return tf.nn.softmax(scores if used is None else tf.where(used, scores, scores.dtype.min))

    def used(self, tower: Tower, encoded: Mapping[str, Mapping[str, tf.Tensor]]) -> tf.Tensor:
        field = only_sequence([field for field in tower.fields if isinstance(field, SequenceField)])
        count = tf.reduce_sum(tf.cast(encoded[field.name]["index"] >= 0, tf.int32), axis=1)
        return used_interests(count, self._settings.interests)


def used_interests(count: tf.Tensor, interests: int) -> tf.Tensor:
    """bool [batch, interests]: the first max(1, min(interests, ⌊log₂ count⌋)); count: int32 [batch], events."""
    least = 2 ** tf.range(1, interests + 1)
    used = count[:, tf.newaxis] >= least[tf.newaxis]
    return tf.logical_or(used, tf.range(interests) == 0)


def route(events: tf.Tensor, valid: tf.Tensor, logits: tf.Tensor, used: tf.Tensor, iterations: int) -> tf.Tensor:
    """Dynamic routing: [batch, interests, dim].

    Args:
      events: float32 [batch, length, dim], mapped by S.
      valid: bool [batch, length], False at padding, which is not routed.
      logits: float32, broadcasts to [batch, interests, length]: the start of the routing.
      used: bool [batch, interests]. The others are copies of the first.
      iterations: at least 1. Only the last one has a gradient.
    """
    fixed, there = tf.stop_gradient(events), tf.cast(valid, events.dtype)[:, tf.newaxis]
    for left in reversed(range(iterations)):
        weights = tf.nn.softmax(tf.where(used[:, :, tf.newaxis], logits, float("-inf")), axis=1) * there
        interests = squash(tf.matmul(weights, fixed if left else events))
        logits = logits + tf.matmul(interests, fixed, transpose_b=True)
    return tf.where(used[:, :, tf.newaxis], interests, interests[:, :1])


def squash(vectors: tf.Tensor) -> tf.Tensor:
    """v · ‖v‖ / (1 + ‖v‖²): the same direction, with a length below 1 (Sabour et al. 2017)."""
    square = tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True)
    return vectors * tf.sqrt(square + 1e-12) / (1.0 + square)
