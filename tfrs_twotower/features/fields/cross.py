"""The combination of several categories, hashed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.configuration import layer_of
from tfrs_twotower.features.fields.field import RowField
from tfrs_twotower.features.kinds import Cross
from tfrs_twotower.features.lookup import is_missing
from tfrs_twotower.features.tensors import key_dtype

# Between the values, so that ("a", "bc") and ("ab", "c") differ: the ASCII unit separator.
_SEPARATOR = "\x1f"


@layer_of(Cross)
class CrossField(RowField):
    """Field of `schema.Cross`. Encoded: {"index": int32 [batch]}, 0 where any column is missing.

    Keras' `Hashing` of the joined values. `HashedCrossing` has no row for a missing value.
    """

    feature: Cross

    def __init__(self, feature: Cross, seed: int = 0) -> None:
        super().__init__(feature, seed)
        self._hashing = tf.keras.layers.Hashing(1 + feature.buckets, mask_value="")

    @property
    def rows(self) -> int:
        return 1 + self.feature.buckets

    def inputs(self) -> dict[str, tf.TensorSpec]:
        return {column: tf.TensorSpec([None], dtype) for column, dtype in zip(self.columns, self._dtypes)}

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        self._dtypes = tuple(key_dtype(columns[column], column) for column in self.columns)

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        values = [raw[column] for column in self.columns]
        missing = tf.reduce_any(tf.stack([is_missing(v) for v in values]), axis=0)
        texts = [v if v.dtype == tf.string else tf.strings.as_string(v) for v in values]
        joined = tf.where(missing, "", tf.strings.join(texts, _SEPARATOR))
        return {"index": tf.cast(self._hashing(joined), tf.int32)}

    def state(self) -> dict[str, np.ndarray]:
        return {"dtypes": np.array([dtype.name for dtype in self._dtypes])}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._dtypes = tuple(tf.as_dtype(str(name)) for name in state["dtypes"])
