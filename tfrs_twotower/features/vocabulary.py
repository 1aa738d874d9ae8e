"""From an id to the row of its embedding, in the graph and without a lookup table's initialiser.

A string is known by its 64-bit fingerprint (FarmHash, which TensorFlow promises never to change), an
integer by itself. The sorted keys are a variable, so that a SavedModel carries any number of them
outside its graph and loads them like weights, and a lookup is a binary search. Two of a million random
strings collide with probability 3e-8; they would share one embedding.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower.columns import MISSING_INT_ID
from tfrs_twotower.features.tensors import present, to_tensor

_LOWEST = np.iinfo(np.int64).min


def fingerprints(values: tf.Tensor) -> tf.Tensor:
    """int64 of the shape of `values`: a string's fingerprint (0 … 2⁶³ − 2), an integer itself."""
    if values.dtype == tf.string:
        return tf.strings.to_hash_bucket_fast(values, np.iinfo(np.int64).max)
    return tf.cast(values, tf.int64)


def is_missing(values: tf.Tensor) -> tf.Tensor:
    """bool of the shape of `values`: "" or −1."""
    if values.dtype == tf.string:
        return tf.strings.length(values) == 0
    return values == MISSING_INT_ID


def learn_keys(keys: pa.Array, counts: np.ndarray, min_count: int = 1, limit: int | None = None) -> np.ndarray:
    """The keys of a vocabulary, most frequent first, ties in the order of the keys.

    Args:
      keys: flat `pa.Array` [n] of large_string or int64; null, "" and −1 are no keys.
      counts: int64 [n], the training events of each row.
      min_count: a key with fewer events is left out; at least 1, so a key that training never met is too.
      limit: at most so many keys.

    Returns:
      int64 [size]: fingerprints.
    """
    known = present(keys)
    table = pa.table({"key": keys.filter(pa.array(known)), "count": counts[known]})
    table = table.group_by("key").aggregate([("count", "sum")])
    table = table.filter(pc.greater_equal(table["count_sum"], min_count))
    order = pc.sort_indices(table, sort_keys=[("count_sum", "descending"), ("key", "ascending")])
    ordered = table["key"].take(order)[:limit]
    dtype = tf.int64 if pa.types.is_integer(keys.type) else tf.string
    ordered = fingerprints(to_tensor(ordered, tf.TensorSpec([None], dtype))).numpy()
    _, first = np.unique(ordered, return_index=True)
    return ordered[np.sort(first)]


# Not a tf.Module: a checkpoint and a SavedModel hold the keys, but they are not a layer's weights.
class Vocabulary(tf.__internal__.tracking.AutoTrackable):
    """A set of keys, numbered from 1 in the order given.

    Args:
      keys: int64 [size] distinct fingerprints, as `learn_keys` returns them.
    """

    def __init__(self, keys: np.ndarray) -> None:
        self.size = len(keys)
        # The lowest integer stands in front, so that every search finds a key that is not larger.
        keys = np.concatenate([[_LOWEST], keys]).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        self._keys = tf.Variable(keys[order], trainable=False, name="vocabulary_keys")
        self._index = tf.Variable(order.astype(np.int32), trainable=False, name="vocabulary_index")

    def keys(self) -> np.ndarray:
        """int64 [size]: the keys in the order of their numbers."""
        order = np.argsort(self._index.numpy())
        return self._keys.numpy()[order][1:]

    def grown(self, keys: np.ndarray, limit: int | None = None) -> "Vocabulary":
        """A vocabulary of these keys, numbered as here, and then of those of `keys` that are new."""
        known = self.keys()
        return Vocabulary(np.concatenate([known, keys[~np.isin(keys, known)]])[:limit])

    def lookup(self, values: tf.Tensor) -> tf.Tensor:
        """int32 of the shape of `values` (string or int64): 1 … size, and 0 for unknown and missing."""
        wanted = fingerprints(values)
        # Read once: a gather on the variable itself would make each later read of it a copy.
        keys = self._keys.read_value()
        place = tf.searchsorted(keys, tf.reshape(wanted, [-1]), side="right") - 1
        place = tf.reshape(place, tf.shape(wanted))
        known = (tf.gather(keys, place) == wanted) & ~is_missing(values)
        return tf.where(known, tf.gather(self._index, place), 0)
