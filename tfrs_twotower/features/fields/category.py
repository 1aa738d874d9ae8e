"""One of a small set of values as a row of a table."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.configuration import layer_of
from tfrs_twotower.features.fields.field import RowField
from tfrs_twotower.features.fields.keys import Keys
from tfrs_twotower.features.kinds import Category
from tfrs_twotower.features.lookup import keras_lookup


@layer_of(Category)
class CategoryField(Keys, RowField):
    """Field of `schema.Category`. Encoded: {"index": int32 [batch]}, 0 for missing and unknown."""

    feature: Category

    def new_lookup(self, keys: pa.Array | pa.ChunkedArray) -> tf.keras.layers.Layer:
        return keras_lookup(keys)

    @property
    def rows(self) -> int:
        return 1 + self.size

    def inputs(self) -> dict[str, tf.TensorSpec]:
        return {self.feature.column: tf.TensorSpec([None], self.key_dtype)}

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        self.learn(columns, self.feature.column, counts, self.feature.min_count)

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"index": self.index(raw[self.feature.column])}
