"""The combination of several categories, hashed."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.config import layer_of
from tfrs_twotower.features.fields.field import RowField
from tfrs_twotower.features.kinds import Cross
from tfrs_twotower.features.tensors import key_dtype
from tfrs_twotower.features.vocabulary import is_missing

# Between the values, so that ("a", "bc") and ("ab", "c") differ: the ASCII unit separator.
_SEPARATOR = "\x1f"


@layer_of(Cross)
class CrossField(RowField):
    """Field of `schema.Cross`. Encoded: {"index": int32 [batch]}, 0 where any column is missing."""

    @property
    def rows(self):
        return 1 + self.feature.buckets

    def inputs(self):
        return {column: tf.TensorSpec([None], dtype) for column, dtype in zip(self.columns, self._dtypes)}

    def adapt(self, columns, counts):
        self._dtypes = tuple(key_dtype(columns[column], column) for column in self.columns)

    def encode(self, raw):
        values = [raw[column] for column in self.columns]
        missing = tf.reduce_any(tf.stack([is_missing(v) for v in values]), axis=0)
        texts = [v if v.dtype == tf.string else tf.strings.as_string(v) for v in values]
        joined = tf.strings.join(texts, _SEPARATOR)
        bucket = tf.cast(tf.strings.to_hash_bucket_fast(joined, self.feature.buckets), tf.int32)
        return {"index": tf.where(missing, 0, bucket + 1)}

    def state(self):
        return {"dtypes": np.array([dtype.name for dtype in self._dtypes])}

    def load_state(self, state):
        self._dtypes = tuple(tf.as_dtype(str(name)) for name in state["dtypes"])
