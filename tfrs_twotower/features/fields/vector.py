"""A vector given with each entity: projected, and if trainable corrected for each entity."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.configuration import layer_of
from tfrs_twotower.errors import DataError, invalid
from tfrs_twotower.features.fields.field import Field
from tfrs_twotower.features.fields.keys import Keys
from tfrs_twotower.features.kinds import Vector
from tfrs_twotower.features.tensors import flat, list_lengths


@layer_of(Vector)
class VectorField(Keys, Field):
    """Field of `schema.Vector`.

    Encoded: {"vector": float32 [batch, d]} and, if trainable, "index": int32 [batch], the row of the
    entity's correction, 0 for an entity not learned.
    """

    feature: Vector

    def inputs(self) -> dict[str, tf.TensorSpec]:
        inputs = {self.feature.column: tf.TensorSpec([None, self._given], tf.float32)}
        if self.feature.trainable:
            inputs[self.feature.id_column] = tf.TensorSpec([None], self.key_dtype)
        return inputs

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        column = self.feature.column
        lengths = list_lengths(flat(columns[column]), column)
        self._given = int(lengths.max(initial=0))
        if not self._given:
            way_out = "Give at least one entity a vector, or leave the feature out."
            raise DataError(invalid(column, "hold vectors", self._given, way_out))
        if self.feature.trainable:
            self.learn(columns, self.feature.id_column, counts)

    def grow(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        """See `Field.grow`; vectors that are not trained have no rows to grow."""
        if self.feature.trainable:
            super().grow(columns, counts)

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        vector = raw[self.feature.column]
        encoded = {"vector": tf.where(tf.math.is_finite(vector), vector, 0.0)}
        if self.feature.trainable:
            encoded["index"] = self.index(raw[self.feature.id_column])
        return encoded

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        if self.feature.trainable:
            self._correction = self.new_embedding(1 + self.size, self._given, "corrections", "zeros")
            self.corrections = self._correction.embeddings  # the names in checkpoints
        self._kernel = self.kernel(self._given, self.feature.dim)
        super().build(input_shape)

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        vector = encoded["vector"]
        if self.feature.trainable:
            known = tf.cast(encoded["index"] > 0, tf.float32)[:, tf.newaxis]
            vector += known * self._correction(encoded["index"])
        return vector @ self._kernel

    def state(self) -> Mapping[str, np.ndarray | np.number]:
        return {"given": np.int64(self._given), **(super().state() if self.feature.trainable else {})}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._given = int(state["given"])
        if self.feature.trainable:
            super().load_state(state)
