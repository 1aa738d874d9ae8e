"""Long histories: a sequence encoder for the recent events, and a search among the older ones (Pi et al. 2020, SIM)."""

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.features import SequenceEmbedding, derive_seed
from tfrs_twotower.ranges import Count
from tfrs_twotower.towers.encoder import Encoder, build_encoder
from tfrs_twotower.towers.gru4rec import GRU4Rec
from tfrs_twotower.towers.hstu import HSTU
from tfrs_twotower.towers.sasrec import SASRec
from tfrs_twotower.towers.sequence import SequenceEncoder, dense

_BLOCK = 16  # older events that the search first compares by their mean
_BLOCKS = 8  # of these are searched one by one; more if `found` needs more


@config
class SearchThenAttend(Encoder):
    """Reads the newest events of a long history, and searches the older ones.

    `encoder` makes the state of a position from the newest `recent` events up to it, and from nothing else. A linear
    map of the state is the query of the search. The search finds the older events whose item vectors have the largest
    inner products with the query. A softmax over the found events weighs their vectors; the result is concatenated with
    the state. SIM and ETA search by the candidate that a ranker scores. A retrieval model has no candidate yet, so it
    searches by the recent state.

    The search has two steps. It scores blocks of 16 events, counted backwards from the newest of the older ones, by the
    mean of their vectors. Then it scores the single events of the best 8 blocks (and of one more for each 16 of
    `found`). So a position in a history of L events costs about L / 16 + 128 inner products, in place of L. With up to
    128 older events the search is exact. Blocks are counted back from the position. So training at a position within a
    window, and a request with a cut history, find the same events.

    Training makes a state for every event, each from its own window. That costs `recent` times one pass of `encoder`
    over the history. A request needs only the last state.

    Attributes:
      encoder: `GRU4Rec`, `SASRec` or `HSTU`, of `recent` events.
      recent: the newest events, which `encoder` reads.
      found: the number of older events that get attention.
    """

    encoder: GRU4Rec | SASRec | HSTU = SASRec(length=50)
    recent: Count = 50
    found: Count = 20


@layer_of(SearchThenAttend)
class SearchThenAttendEncoder(SequenceEncoder):
    """Encoder of `SearchThenAttend`.

    Args:
      settings: a `SearchThenAttend`.
      seed: of weights and dropout.
    """

    def __init__(self, settings: SearchThenAttend, seed: int = 0) -> None:
        super().__init__(seed, name="search_then_attend")
        self._recent = settings.recent
        self._encoder = build_encoder(settings.encoder, derive_seed(seed, "recent"))
        self._search = _Search(settings, seed)

    def sequence(self, sequence: SequenceEmbedding, training: bool = False) -> tf.Tensor:
        batch, length = tf.unstack(tf.shape(sequence.valid))
        every = tf.range(batch * length)
        states = self.at(sequence, every // length, every % length, training=training)
        return tf.reshape(states, [batch, length, states.shape[-1]])

    def at(
        self, sequence: SequenceEmbedding, row: tf.Tensor, place: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        width = tf.minimum(self._recent, tf.shape(sequence.valid)[1])
        first = tf.maximum(place - width + 1, 0)
        places = first[:, tf.newaxis] + tf.range(width)
        window = SequenceEmbedding(*(_gathered(part, row, places) for part in sequence))
        window = window._replace(valid=places <= place[:, tf.newaxis])
        states = self._encoder.at(window, tf.range(tf.size(row)), place - first, training=training)
        return tf.concat([states, self._search(sequence.values, states, row, place)], axis=-1)


class _Search(tf.keras.layers.Layer):
    def __init__(self, settings: SearchThenAttend, seed: int) -> None:
        super().__init__(name="search")
        self._recent, self._found, self._seed = settings.recent, settings.found, seed
        self._blocks = _BLOCKS + settings.found // _BLOCK

    def build(self, values_shape: tf.TensorShape) -> None:
        self._looks_for = dense(values_shape[-1], self._seed, "looks_for", use_bias=False)
        super().build(values_shape)

    def call(self, values: tf.Tensor, states: tf.Tensor, row: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """[n, dim]: the weighted mean of older events' vectors; zeros without older events.

        Args:
          values: [batch, length, dim], the events' vectors.
          states: [n, any], of the encoder.
          row, place: int32 [n], batch row and position of each state.
        """
        looks_for = self._looks_for(states) * values.shape[-1] ** -0.5
        newest = place - self._recent  # of the older ones; below 0: none
        ends = newest[:, tf.newaxis] - _BLOCK * tf.range(-(-tf.shape(values)[1] // _BLOCK))
        ends = _best(looks_for, _block_means(values), row, ends, self._blocks)
        places = tf.reshape(ends[:, :, tf.newaxis] - tf.range(_BLOCK), [tf.size(row), -1])
        places = _best(looks_for, values, row, places, self._found)
        found = _gathered(values, row, tf.maximum(places, 0))
        scores, there = tf.einsum("nd,nkd->nk", looks_for, found), places >= 0
        # A softmax of nothing but −inf is NaN. Without older events it is taken of zeros, and its result left out.
        masked = tf.where(there, scores, float("-inf"))
        weights = tf.nn.softmax(tf.where(tf.reduce_any(there, axis=1, keepdims=True), masked, 0.0))
        return tf.einsum("nk,nkd->nd", tf.where(there, weights, 0.0), found)


def _gathered(values: tf.Tensor, row: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """[n, k, ...]: `values` [batch, length, ...] at positions [n, k] of batch rows [n]."""
    row = tf.broadcast_to(row[:, tf.newaxis], tf.shape(places))
    return tf.gather_nd(values, tf.stack([row, places], axis=-1))


def _best(
    looks_for: tf.Tensor, values: tf.Tensor, row: tf.Tensor, places: tf.Tensor, count: int
) -> tf.Tensor:
    """int32 [n, ≤ count]: the `places` [n, k] whose vectors score highest; below 0: none."""
    scores = tf.einsum("nd,nkd->nk", looks_for, _gathered(values, row, tf.maximum(places, 0)))
    scores = tf.where(places >= 0, scores, float("-inf"))
    best = tf.math.top_k(tf.stop_gradient(scores), tf.minimum(count, tf.shape(places)[1])).indices
    return tf.gather(places, best, batch_dims=1)


def _block_means(values: tf.Tensor) -> tf.Tensor:
    """[batch, length, dim]: the mean of the last `_BLOCK` events up to each position, or of all if there are fewer."""
    sums = tf.cumsum(tf.cast(values, tf.float32), axis=1)
    length = tf.shape(values)[1]
    before = tf.pad(sums, [[0, 0], [_BLOCK, 0], [0, 0]])[:, :length]
    count = tf.cast(tf.minimum(tf.range(length) + 1, _BLOCK), tf.float32)
    return tf.cast((sums - before) / count[:, tf.newaxis], values.dtype)
