"""From a key (an id, a category) to the row of its embedding.

Keras' `StringLookup` and `IntegerLookup` hold the values of categories. Ids have `FingerprintLookup`: ten million of
them load faster and take less memory in it (`bench/bench_lookup.py`). All three give 1 … size, and 0 for a key that was
not learned.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower.features.tensors import key_tensor, present
from tfrs_twotower.ids import missing_id

_LOWEST = np.iinfo(np.int64).min


def fingerprints(values: tf.Tensor) -> tf.Tensor:
    """int64 of the shape of `values`: a string's fingerprint (0 … 2⁶³ − 2), an integer itself."""
    if values.dtype == tf.string:
        return tf.strings.to_hash_bucket_fast(values, np.iinfo(np.int64).max)
    return tf.cast(values, tf.int64)


def is_missing(values: tf.Tensor) -> tf.Tensor:
    """bool of the shape of `values`: "" or −1."""
    return values == missing_id(values.dtype)


def learn_keys(keys: pa.Array, counts: np.ndarray, min_count: int = 1, limit: int | None = None) -> pa.Array:
    """The keys of a vocabulary, most frequent first, ties in the order of the keys.

    Args:
      keys: flat `pa.Array` [n] of large_string or int64; null, "" and −1 are no keys.
      counts: int64 [n], the training events of each row.
      min_count: a key with fewer events is left out; at least 1, so keys without training events are always left out.
      limit: the largest number of keys.

    Returns:
      `pa.ChunkedArray` [size] of the type of `keys`.
    """
    known = present(keys)
    table = pa.table({"key": keys.filter(pa.array(known)), "count": counts[known]})
    table = table.group_by("key").aggregate([("count", "sum")])
    table = table.filter(pc.greater_equal(table["count_sum"], min_count))
    order = pc.sort_indices(table, sort_keys=[("count_sum", "descending"), ("key", "ascending")])
    return table["key"].take(order)[:limit]


def keras_lookup(keys: pa.Array | pa.ChunkedArray) -> tf.keras.layers.Layer:
    """A `StringLookup` or `IntegerLookup` of distinct keys, numbered from 1 in their order; 0 is any other key.

    Keras accepts no empty vocabulary, and no two keys that differ in a NUL at the end; these get a `FingerprintLookup`.
    """
    if not len(keys) or not pa.types.is_integer(keys.type) and pc.any(pc.ends_with(keys, "\0")).as_py():
        return FingerprintLookup(keys)
    values = keys.to_numpy(zero_copy_only=False) if isinstance(keys, pa.Array) else keys.to_numpy()
    if pa.types.is_integer(keys.type):
        missing, layer = missing_id(int), tf.keras.layers.IntegerLookup(oov_token=missing_id(int))
    else:
        missing, layer = missing_id(str), tf.keras.layers.StringLookup(oov_token=missing_id(str))
    layer.set_vocabulary(np.concatenate([np.array([missing], values.dtype), values]))
    return layer


def grown(
    known: tf.keras.layers.Layer, found: tf.keras.layers.Layer, limit: int | None = None
) -> tf.keras.layers.Layer:
    """A lookup of the keys of `known`, with the same numbers, and then of the further keys of `found`.

    Args:
      limit: the largest number of keys in all.
    """
    odd = isinstance(found, FingerprintLookup) and found.vocabulary_size() > 1  # see `keras_lookup`
    if odd and not isinstance(known, FingerprintLookup):
        known = FingerprintLookup(known.get_vocabulary(False))  # the numbers stay
    if isinstance(known, FingerprintLookup):
        old, new = known.get_vocabulary(False), found.get_vocabulary(False)
        if not isinstance(found, FingerprintLookup):  # a run of 0.1.0 kept fingerprints of categories too
            new = FingerprintLookup(new).get_vocabulary(False)
        return FingerprintLookup(np.concatenate([old, new[~np.isin(new, old)]])[:limit])
    old = known.get_vocabulary(include_special_tokens=False)
    seen = set(old)
    keys = [*old, *(key for key in found.get_vocabulary(include_special_tokens=False) if key not in seen)][:limit]
    return keras_lookup(pa.array(keys, _arrow(known)))


def lookup_state(lookup: tf.keras.layers.Layer) -> dict[str, np.ndarray]:
    """The keys of a lookup as arrays, for `lookup_of`."""
    if isinstance(lookup, FingerprintLookup):
        return {"keys": lookup.get_vocabulary(include_special_tokens=False)}
    keys = pa.array(lookup.get_vocabulary(include_special_tokens=False), _arrow(lookup))
    if pa.types.is_integer(keys.type):
        return {"integers": keys.to_numpy()}
    _, ends, text = keys.buffers()
    return {"ends": np.frombuffer(ends, np.int64), "text": np.frombuffer(text or b"", np.uint8)}


def lookup_of(state: Mapping[str, np.ndarray]) -> tf.keras.layers.Layer:
    """The lookup of a `lookup_state`."""
    if "keys" in state:
        return FingerprintLookup(state["keys"])
    if "integers" in state:
        return keras_lookup(pa.array(state["integers"]))
    ends, text = (pa.py_buffer(np.ascontiguousarray(state[name])) for name in ("ends", "text"))
    return keras_lookup(pa.LargeStringArray.from_buffers(len(state["ends"]) - 1, ends, text))


def _arrow(lookup: tf.keras.layers.Layer) -> pa.DataType:
    return pa.int64() if isinstance(lookup, tf.keras.layers.IntegerLookup) else pa.large_string()


@tf.keras.utils.register_keras_serializable("tfrs_twotower")
class FingerprintLookup(tf.keras.layers.Layer):
    """Keras' `StringLookup` and `IntegerLookup` for many ids: the same methods, without a hash table.

    A string is known by its 64-bit fingerprint (FarmHash, which TensorFlow promises never to change), an integer by
    itself. The sorted keys are a variable, so that a SavedModel carries any number of them outside its graph and loads
    them like weights. A lookup is a binary search. Two of a million random strings collide with probability 3e-8; they
    would share one row.

    Args:
      vocabulary: keys, numbered from 1 in their order; see `set_vocabulary`.
    """

    def __init__(self, vocabulary: np.ndarray | Sequence[Any] | tf.Tensor = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.set_vocabulary(vocabulary)

    _keys: tf.Variable  # ascending
    _index: tf.Variable  # the number of each

    def adapt(self, data: np.ndarray | Sequence[Any] | tf.Tensor | pa.Array | tf.data.Dataset) -> None:
        """Learns the keys of `data` (strings or integers of any shape), most frequent first."""
        if isinstance(data, tf.data.Dataset):
            data = np.concatenate([np.ravel(batch) for batch in data.as_numpy_iterator()])
        if not isinstance(data, pa.Array):
            data = np.ravel(data.numpy() if isinstance(data, tf.Tensor) else data)
            data = pa.array(data, pa.int64() if data.dtype.kind in "iu" else pa.large_string())
        self.set_vocabulary(learn_keys(data, np.ones(len(data), np.int64)))

    def set_vocabulary(self, vocabulary: np.ndarray | Sequence[Any] | tf.Tensor | pa.Array | pa.ChunkedArray) -> None:
        """Sets the keys, strings or integers. Strings are kept as fingerprints. Of equal keys the first counts."""
        if isinstance(vocabulary, (pa.Array, pa.ChunkedArray)):
            vocabulary = key_tensor(vocabulary, "vocabulary")
        keys = tf.zeros([0], tf.int64) if len(vocabulary) == 0 else tf.convert_to_tensor(vocabulary)
        keys = fingerprints(keys).numpy()
        keys = keys[keys != missing_id(int)]  # the first in `get_vocabulary`
        _, first = np.unique(keys, return_index=True)
        # The lowest integer comes first, so that every search finds a key that is not larger.
        keys = np.concatenate([[_LOWEST], keys[np.sort(first)]]).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        self._keep("_keys", keys[order])
        self._keep("_index", order.astype(np.int32))

    def _keep(self, name: str, values: np.ndarray) -> None:
        """A variable that checkpoints and SavedModels hold, but that is none of the layer's weights."""
        variable = tf.Variable(values, trainable=False, name=f"vocabulary{name}")
        self.__dict__[name] = self._track_trackable(variable, name, overwrite=True)

    def get_vocabulary(self, include_special_tokens: bool = True) -> np.ndarray:
        """int64 [size + 1]: the keys' fingerprints by their numbers, with −1 first; or [size] without it."""
        keys = self._keys.numpy()[np.argsort(self._index.numpy())]
        keys[0] = missing_id(int)
        return keys if include_special_tokens else keys[1:]

    def vocabulary_size(self) -> int:
        """The count of numbers: those of the keys, and 0."""
        return int(self._keys.shape[0])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """int32 of the shape of `inputs` (string or int64): 1 … size, and 0 for unknown and missing."""
        wanted = fingerprints(inputs)
        # Read once: after a gather on the variable itself, each later read of it would copy.
        keys = self._keys.read_value()
        # `tf.searchsorted` by its own op: the ops around it take as long as the search of one request's ids.
        place = tf.raw_ops.UpperBound(sorted_inputs=tf.expand_dims(keys, 0), values=tf.reshape(wanted, [1, -1])) - 1
        place = tf.reshape(place, tf.shape(wanted))
        known = (tf.gather(keys, place) == wanted) & ~is_missing(inputs)
        return tf.where(known, tf.gather(self._index, place), 0)

    def save_own_variables(self, store: dict[str, np.ndarray]) -> None:
        """The keys, for a `.keras` file."""
        store["vocabulary"] = self.get_vocabulary(include_special_tokens=False)

    def load_own_variables(self, store: dict[str, np.ndarray]) -> None:
        """Sets the keys from a `.keras` file."""
        self.set_vocabulary(np.asarray(store["vocabulary"]))
