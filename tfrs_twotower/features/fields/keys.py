"""The base of fields of one column of keys (ids, categories, lists of them): dtype and vocabulary."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower.features.lookup import FingerprintLookup, grown, learn_keys, lookup_of, lookup_state
from tfrs_twotower.features.tensors import cast, flat, key_dtype, list_lengths


class Keys:
    """Mixin of a field whose feature has one `column` of keys, alone or in lists.

    Attributes:
      key_dtype: `tf.string` or `tf.int64`.
      vocabulary: the lookup: a key's number from 1 on, and 0 for a key that was not learned.
    """

    # No defaults: Keras does not track an attribute that is also in its class.
    key_dtype: tf.DType
    vocabulary: tf.keras.layers.Layer
    adapt: Callable[[Mapping[str, pa.Array | pa.ChunkedArray], np.ndarray], None]

    @property
    def size(self) -> int:
        """The number of learned keys."""
        return self.vocabulary.vocabulary_size() - 1

    def learn(
        self, columns: Mapping[str, pa.Array | pa.ChunkedArray], name: str, counts: np.ndarray, min_count: int = 1
    ) -> None:
        """Learns dtype and vocabulary from the column `name` of keys, or of lists of keys."""
        self.key_dtype = key_dtype(columns[name], name)
        array = flat(columns[name])
        if pa.types.is_nested(array.type):
            counts = np.repeat(counts, list_lengths(array, name))
            array = flat(pc.list_flatten(array))
        keys = cast(array, self.key_dtype, name)
        self.vocabulary = self.new_lookup(learn_keys(keys, np.asarray(counts), min_count))

    def new_lookup(self, keys: pa.Array | pa.ChunkedArray) -> tf.keras.layers.Layer:
        """The lookup of learned keys: a `FingerprintLookup`, as there may be many."""
        return FingerprintLookup(keys)

    def index(self, keys: tf.Tensor) -> tf.Tensor:
        """int32 of the shape of `keys` (raw): their numbers."""
        return tf.cast(self.vocabulary(keys), tf.int32)

    def grow(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        """See `Field.grow`."""
        known = self.vocabulary
        self.adapt(columns, counts)
        self.vocabulary = grown(known, self.vocabulary)

    def state(self) -> Mapping[str, np.ndarray | np.number]:
        return {"dtype": np.array(self.key_dtype.name), **lookup_state(self.vocabulary)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.key_dtype = tf.as_dtype(str(state["dtype"]))
        self.vocabulary = lookup_of(state)
