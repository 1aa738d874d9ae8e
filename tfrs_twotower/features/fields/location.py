"""A place: its geohash cells, and its direction from the middle of the earth."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.configuration import layer_of
from tfrs_twotower.features.fields.field import Field
from tfrs_twotower.features.kinds import Location
from tfrs_twotower.features.tensors import to_tensor

_SIDE = 2**20  # cells along one side of the largest grid, of geohashes of 8 letters


@layer_of(Location)
class LocationField(Field):
    """Field of `schema.Location`.

    Encoded: {"index": int32 [batch, cells], rows of the table, 0 for a cell that was not learned; "point": float32
    [batch, 3], of length 1; "present": float32 [batch], 0 if a coordinate is missing or out of range}.
    """

    feature: Location

    def inputs(self) -> dict[str, tf.TensorSpec]:
        return {column: tf.TensorSpec([None], tf.float32) for column in self.feature.columns}

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        raw = {name: to_tensor(columns[name], spec, name) for name, spec in self.inputs().items()}
        present = self._present(raw).numpy()
        cells = self._cells(raw).numpy()[present]
        weights = np.repeat(np.asarray(counts)[present], cells.shape[1])
        keys, at = np.unique(cells, return_inverse=True)
        self._keys = keys[np.bincount(at.ravel(), weights, len(keys)) >= self.feature.min_count]

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        present = self._present(raw)
        latitude, longitude = (tf.where(present, raw[name], 0.0) * (math.pi / 180) for name in self.feature.columns)
        point = [tf.cos(latitude) * tf.cos(longitude), tf.cos(latitude) * tf.sin(longitude), tf.sin(latitude)]
        cells = self._cells(raw)
        keys = np.append(self._keys, np.int64(2**62))
        place = tf.reshape(tf.searchsorted(keys, tf.reshape(cells, [-1])), tf.shape(cells))
        known = (tf.gather(keys, place) == cells) & present[:, tf.newaxis]
        index = tf.ensure_shape(tf.where(known, place + 1, 0), [None, len(self.feature.cells)])
        return {"index": index, "point": tf.stack(point, axis=-1), "present": tf.cast(present, tf.float32)}

    def _present(self, raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        latitude, longitude = (raw[name] for name in self.feature.columns)
        return (tf.abs(latitude) <= 90.0) & (tf.abs(longitude) <= 180.0)  # False for NaN

    def _cells(self, raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """int64 [batch, cells]: a number for each geohash, distinct over all lengths."""
        latitude, longitude = (tf.where(self._present(raw), raw[name], 0.0) for name in self.feature.columns)
        found = []
        for length in self.feature.cells:
            rows, columns = 2 ** (5 * length // 2), 2 ** (5 * length - 5 * length // 2)
            row, column = (
                tf.cast(tf.clip_by_value(tf.floor(share * side), 0.0, side - 1.0), tf.int64)
                for share, side in (((latitude + 90.0) / 180.0, rows), ((longitude + 180.0) / 360.0, columns))
            )
            found.append((length * _SIDE + row) * _SIDE + column)
        return tf.stack(found, axis=-1)

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        self.embedding = self.new_embedding(1 + len(self._keys), self.feature.dim)
        self.embeddings = self.embedding.embeddings  # the names in checkpoints
        self._kernel = self.kernel(3, self.feature.dim)
        super().build(input_shape)

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        vectors = tf.reduce_sum(self.embedding(encoded["index"]), axis=1) + encoded["point"] @ self._kernel
        return vectors * encoded["present"][:, tf.newaxis]

    def state(self) -> dict[str, np.ndarray]:
        return {"keys": self._keys}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._keys = np.asarray(state["keys"], np.int64)
