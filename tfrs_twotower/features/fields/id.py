"""An id as a row of a table; row 0 is trained by leaving out a share of the ids."""

from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.columns import USER_ID
from tfrs_twotower.configuration import layer_of
from tfrs_twotower.features.fields.field import Field, RowField
from tfrs_twotower.features.fields.keys import Keys
from tfrs_twotower.features.kinds import Augmented, Id
from tfrs_twotower.features.tensors import key_dtype
from tfrs_twotower.ids import missing_id


@layer_of(Id, Augmented)
class IdField(Keys, RowField):
    """Field of `schema.Id`. Encoded: {"index": int32 [batch]}, 0 for missing and unknown."""

    feature: Id

    def __init__(self, feature: Id, seed: int = 0) -> None:
        super().__init__(feature, seed)
        self._generator = tf.random.Generator.from_seed(self.seed, alg="philox")

    @property
    def rows(self) -> int:
        return 1 + (self.feature.buckets or self.size)

    def inputs(self) -> dict[str, tf.TensorSpec]:
        return {self.feature.column: tf.TensorSpec([None], self.key_dtype)}

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        column = self.feature.column
        if self.feature.buckets:
            self._hash(key_dtype(columns[column], column))
        else:
            self.learn(columns, column, counts, self.feature.min_count)

    def grow(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        """See `Field.grow`; hashed ids have nothing to grow."""
        if not self.feature.buckets:
            super().grow(columns, counts)

    def _hash(self, dtype: tf.DType) -> None:
        """Ids of `dtype` are hashed into rows 1 … buckets."""
        self.key_dtype = dtype
        self._hashing = tf.keras.layers.Hashing(1 + self.feature.buckets, mask_value=missing_id(dtype))

    def index(self, keys: tf.Tensor) -> tf.Tensor:
        """int32 of the shape of `keys` (raw ids): table rows."""
        return tf.cast(self._hashing(keys), tf.int32) if self.feature.buckets else super().index(keys)

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"index": self.index(raw[self.feature.column])}

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        index = encoded["index"]
        if training and self.feature.dropout:
            drawn = self._generator.uniform(tf.shape(index))
            index = tf.where(drawn < self.feature.dropout, 0, index)
        rows = super().call({"index": index})
        if "fresh" in encoded:  # rows of users that a server got after the export
            rows = tf.where(encoded["fresh"][:, tf.newaxis], encoded["row"], rows)
        return rows

    def state(self) -> Mapping[str, np.ndarray | np.number]:
        if self.feature.buckets:
            return {"dtype": np.array(self.key_dtype.name)}
        return super().state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        if self.feature.buckets:
            self._hash(tf.as_dtype(str(state["dtype"])))
        else:
            super().load_state(state)


def is_table(field: Field, column: str) -> TypeGuard[IdField]:
    """Is this the field of the ids in a column, with a vocabulary and so with a table row per id?"""
    return isinstance(field, IdField) and field.feature.column == column and not field.feature.buckets


def is_user_table(field: Field) -> TypeGuard[IdField]:
    """Is this the field of the user ids, with a table row per user?"""
    return is_table(field, USER_ID)
