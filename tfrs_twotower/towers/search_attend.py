"""Long pasts: a sequence encoder for the recent events, and a search among the older ones (Pi et al. 2020, SIM)."""

import tensorflow as tf

from tfrs_twotower.config import at_least, config
from tfrs_twotower.features import SequenceEmbedding
from tfrs_twotower.features.seeds import derive_seed
from tfrs_twotower.towers.gru4rec import GRU4Rec, GRU4RecEncoder
from tfrs_twotower.towers.hstu import HSTU, HSTUEncoder
from tfrs_twotower.towers.sasrec import SASRec, SASRecEncoder
from tfrs_twotower.towers.sequence import SequenceEncoder, dense

_ENCODERS = {GRU4Rec: GRU4RecEncoder, SASRec: SASRecEncoder, HSTU: HSTUEncoder}


@config
class SearchThenAttend:
    """Reads a long past in stretches; what lies before a place's own stretch is searched.

    Within a stretch `encoder` makes the states. A state then finds the events of earlier stretches that are most like
    what it looks for (the inner product of a linear map of it with the items' vectors), and a softmax over these alone
    weighs their vectors, which stand beside the state. SIM and ETA search by the candidate that a ranker scores; a
    retrieval has none yet, so the search is by the recent state.

    Attributes:
      encoder: `GRU4Rec`, `SASRec` or `HSTU`, of `recent` events.
      recent: events of a stretch.
      found: older events that are attended to.
    """

    encoder: GRU4Rec | SASRec | HSTU = SASRec(length=50)
    recent: int = 50
    found: int = 20

    def __post_init__(self):
        at_least(1, self, "recent", "found")


class SearchThenAttendEncoder(SequenceEncoder):
    """Encoder of `SearchThenAttend`.

    Args:
      settings: a `SearchThenAttend`.
      seed: from which weights and dropout derive theirs.
    """

    def __init__(self, settings, seed=0):
        super().__init__(seed, name="search_then_attend")
        self._recent = settings.recent
        self._encoder = _ENCODERS[type(settings.encoder)](settings.encoder, derive_seed(seed, "recent"))
        self._search = _Search(settings, seed)

    def sequence(self, sequence, training=False):
        states = self._in_stretches(sequence, training)[:, : tf.shape(sequence.valid)[1]]
        return tf.concat([states, self._search(sequence.values, states, sequence.valid)], axis=-1)

    def _in_stretches(self, sequence, training):
        """The encoder's states, [batch, length rounded up, any]."""
        batch, length = tf.unstack(tf.shape(sequence.valid))
        beyond = -length % self._recent

        def cut(values):
            padded = tf.pad(values, [[0, 0], [0, beyond]] + [[0, 0]] * (values.shape.rank - 2))
            shape = tf.concat([[-1, self._recent], tf.shape(values)[2:]], axis=0)
            return tf.ensure_shape(tf.reshape(padded, shape), [None, self._recent, *values.shape[2:]])

        states = self._encoder.sequence(SequenceEmbedding(*map(cut, sequence)), training=training)
        return tf.reshape(states, [batch, length + beyond, states.shape[-1]])


class _Search(tf.keras.layers.Layer):
    def __init__(self, settings, seed):
        super().__init__(name="search")
        self._recent, self._found, self._seed = settings.recent, settings.found, seed

    def build(self, values_shape):
        self._looks_for = dense(values_shape[-1], self._seed, "looks_for", use_bias=False)
        super().build(values_shape)

    def call(self, values, states, valid):
        """[batch, length, dim] of older events' vectors; zeros in the first stretch."""
        length, dim = tf.shape(values)[1], values.shape[-1]
        scores = tf.matmul(self._looks_for(states), values, transpose_b=True) * dim**-0.5
        stretch = tf.range(length) // self._recent
        older = tf.logical_and(stretch[tf.newaxis, :] < stretch[:, tf.newaxis], valid[:, tf.newaxis, :])
        scores, places = tf.math.top_k(tf.where(older, scores, float("-inf")), tf.minimum(self._found, length))
        there = tf.math.is_finite(scores)
        # A softmax of nothing but −inf is no number: where nothing is older, it is taken of zeros and left out.
        weights = tf.nn.softmax(tf.where(tf.reduce_any(there, axis=-1, keepdims=True), scores, 0.0))
        found = tf.gather(values, places, batch_dims=1)
        return tf.einsum("blk,blkd->bld", tf.where(there, weights, 0.0), found)
