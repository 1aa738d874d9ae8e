"""What the fields of one column of keys (ids, categories, lists of them) share: dtype and vocabulary."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower.features.tensors import cast, flat, key_dtype, list_lengths
from tfrs_twotower.features.vocabulary import Vocabulary, learn_keys


class Keys:
    """Mixin of a field whose feature has one `column` of keys, alone or in lists."""

    # No defaults: Keras tracks no attribute that its class has too.
    key_dtype: tf.DType
    vocabulary: Vocabulary
    adapt: Callable[[Mapping[str, pa.Array | pa.ChunkedArray], np.ndarray], None]

    @property
    def size(self) -> int:
        """How many keys were learned."""
        return self.vocabulary.size

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
        self.vocabulary = Vocabulary(learn_keys(keys, np.asarray(counts), min_count))

    def grow(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        """See `Field.grow`."""
        known = self.vocabulary
        self.adapt(columns, counts)
        self.vocabulary = known.grown(self.vocabulary.keys())

    def state(self) -> Mapping[str, np.ndarray | np.number]:
        return {"dtype": np.array(self.key_dtype.name), "keys": self.vocabulary.keys()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.key_dtype = tf.as_dtype(str(state["dtype"]))
        self.vocabulary = Vocabulary(state["keys"])
