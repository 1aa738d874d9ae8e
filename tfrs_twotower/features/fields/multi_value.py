"""Any number of values of one kind, pooled."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.configuration import layer_of
from tfrs_twotower.features.fields.field import Field
from tfrs_twotower.features.fields.keys import Keys
from tfrs_twotower.features.fields.pooling import (
    fixed_width,
    gather_present,
    pool_mean,
    pool_softmax,
    pool_sum,
)
from tfrs_twotower.features.kinds import MultiValue
from tfrs_twotower.features.lookup import keras_lookup


@layer_of(MultiValue)
class MultiValueField(Keys, Field):
    """Field of `schema.MultiValue`. Encoded: {"index": int32 [batch, length]}, −1 at padding."""

    feature: MultiValue

    def new_lookup(self, keys: pa.Array | pa.ChunkedArray) -> tf.keras.layers.Layer:
        return keras_lookup(keys)

    def inputs(self) -> dict[str, tf.TensorSpec]:
        return {self.feature.column: tf.TensorSpec([None, None], self.key_dtype)}

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        self.learn(columns, self.feature.column, counts, self.feature.min_count)

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        # Values that were not learned are left out, so the table has no row for them.
        index = self.index(raw[self.feature.column]) - 1
        return {"index": fixed_width(index, self.feature.length)}

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        self._embedding = self.new_embedding(max(self.size, 1), self.feature.dim)
        self.embeddings = self._embedding.embeddings  # the names in checkpoints
        if self.feature.pooling == "attention":
            self.attention_query = self.add_weight(
                "attention_query", (self.feature.dim, 1), initializer=self.uniform("attention_query")
            )
        super().build(input_shape)

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        index = encoded["index"]
        batch = tf.shape(index)[0]
        places, vectors = gather_present(self._embedding, index)
        if self.feature.pooling == "sum":
            return pool_sum(vectors, places, batch)
        if self.feature.pooling == "mean":
            return pool_mean(vectors, places, batch)
        return pool_softmax(vectors, places, batch, tf.squeeze(vectors @ self.attention_query, -1))
