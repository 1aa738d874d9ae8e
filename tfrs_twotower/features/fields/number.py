"""A number: normalised, or as a bin."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.configuration import layer_of
from tfrs_twotower.features.fields.field import Field, RowField
from tfrs_twotower.features.kinds import Number
from tfrs_twotower.features.tensors import to_tensor


@layer_of(Number)
def number_field(feature: Number, seed: int = 0) -> "BinField | NumberField":
    """The field of a `schema.Number`, by its transform."""
    return BinField(feature, seed) if feature.transform == "bucketise" else NumberField(feature, seed)


def _training_values(
    columns: Mapping[str, pa.Array | pa.ChunkedArray], name: str, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(finite values, their counts) of the rows that training saw, both float64."""
    values = to_tensor(columns[name], tf.TensorSpec([None], tf.float32), name).numpy().astype(np.float64)
    used = np.isfinite(values) & (counts > 0)
    return values[used], np.asarray(counts, np.float64)[used]


class NumberField(Field):
    """Field of `schema.Number` with `normalise` or `log1p`.

    Encoded: {"value": float32 [batch], 0 where missing; "missing": float32 [batch], 1 where missing}.
    """

    feature: Number

    def inputs(self) -> dict[str, tf.TensorSpec]:
        return {self.feature.column: tf.TensorSpec([None], tf.float32)}

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        values, weights = _training_values(columns, self.feature.column, counts)
        if self.feature.transform == "log1p":
            values = np.sign(values) * np.log1p(np.abs(values))
        mean, deviation = 0.0, 1.0
        if len(values):
            mean = float(np.average(values, weights=weights))
            deviation = float(np.sqrt(np.average((values - mean) ** 2, weights=weights))) or 1.0
        self._normalise(mean, deviation)

    def _normalise(self, mean: float, deviation: float) -> None:
        self._mean, self._deviation = mean, deviation
        # Keras raises a deviation below 1e-7 to 1e-7, and the square of one above 1e19 overflows. Such a deviation
        # becomes the unit.
        self._unit = 1.0 if 1e-6 < deviation < 1e18 else deviation
        self._normalization = tf.keras.layers.Normalization(
            axis=None, mean=mean / self._unit, variance=(deviation / self._unit) ** 2,
            dtype="float32",  # under mixed precision too
        )

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        value = raw[self.feature.column]
        missing = ~tf.math.is_finite(value)
        if self.feature.transform == "log1p":
            value = tf.sign(value) * tf.math.log1p(tf.abs(value))
        value = tf.where(missing, 0.0, self._normalization(value / self._unit))
        return {"value": value, "missing": tf.cast(missing, tf.float32)}

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        self._kernel = self.kernel(2, self.feature.dim)
        super().build(input_shape)

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        return tf.stack([encoded["value"], encoded["missing"]], axis=-1) @ self._kernel

    def state(self) -> dict[str, np.float64]:
        return {"mean": np.float64(self._mean), "deviation": np.float64(self._deviation)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._normalise(float(state["mean"]), float(state["deviation"]))


class BinField(RowField):
    """Field of `schema.Number` with `bucketise`. Encoded: {"index": int32 [batch]}, 0 where missing."""

    feature: Number

    @property
    def rows(self) -> int:
        return 2 + len(self._boundaries)

    def inputs(self) -> dict[str, tf.TensorSpec]:
        return {self.feature.column: tf.TensorSpec([None], tf.float32)}

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        values, weights = _training_values(columns, self.feature.column, counts)
        boundaries = np.zeros(0, np.float32)
        if len(values):
            order = np.argsort(values, kind="stable")
            reached = np.cumsum(weights[order])
            shares = reached[-1] * np.arange(1, self.feature.bins) / self.feature.bins
            places = np.minimum(np.searchsorted(reached, shares, side="right"), len(values) - 1)
            boundaries = np.unique(values[order][places]).astype(np.float32)
        self._cut(boundaries)

    def _cut(self, boundaries: np.ndarray) -> None:
        self._boundaries = boundaries
        self._discretization = tf.keras.layers.Discretization(boundaries.tolist(), dtype="int32")

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        value = raw[self.feature.column]
        return {"index": tf.where(tf.math.is_finite(value), self._discretization(value) + 1, 0)}

    def state(self) -> dict[str, np.ndarray]:
        return {"boundaries": self._boundaries}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._cut(np.asarray(state["boundaries"], np.float32))
