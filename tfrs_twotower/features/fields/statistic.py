"""What happened with an item before a moment, and how much a user did."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.configuration import layer_of
from tfrs_twotower.features.fields.field import Field
from tfrs_twotower.features.fields.id import IdField
from tfrs_twotower.features.fields.past import AgedField
from tfrs_twotower.features.statistics import ItemStatistic, UserStatistic
from tfrs_twotower.features.tensors import to_tensor

_HOURS = 24.0  # of a day


@layer_of(ItemStatistic)
class StatisticField(Field):
    """Field of `ItemStatistic`.

    Its input holds whole numbers, so that training and serving, which count in different ways, agree to the last bit:
    see `data.statistics.Statistic.values`.

    Encoded: {"value": float32 [batch, parts]}, with mean 0 and deviation 1: a part for each window; of `recency` the
    time, and whether there was an event at all.
    """

    feature: ItemStatistic
    _prior = (1.0, 1.0)

    def inputs(self) -> dict[str, tf.TensorSpec]:
        return {self.feature.column: tf.TensorSpec([None, self.feature.spec.width], tf.float32)}

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        (name, spec), = self.inputs().items()
        raw = to_tensor(columns[name], spec, name).numpy()[np.asarray(counts) > 0]
        if self.feature.measure == "rate":
            events, among = np.split(raw.astype(np.float64), 2, axis=1)
            longest = int(np.argmax([window or np.inf for window in self.feature.hours]))
            self._prior = beta_prior(events[:, longest], among[:, longest])
        values = self._parts(tf.constant(raw)).numpy().astype(np.float64)
        mean = values.mean(axis=0) if len(values) else np.zeros(values.shape[1])
        deviation = values.std(axis=0) if len(values) else np.ones(values.shape[1])
        self._mean, self._deviation = (
            v.astype(np.float32) for v in (mean, np.where(deviation > 1e-6, deviation, 1.0))
        )

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"value": (self._parts(raw[self.feature.column]) - self._mean) / self._deviation}

    def _parts(self, raw: tf.Tensor) -> tf.Tensor:
        raw = tf.maximum(tf.where(tf.math.is_finite(raw), raw, 0.0), 0.0)
        if self.feature.measure == "recency":
            return tf.concat([tf.math.log1p(raw / _HOURS), tf.cast(raw > 0.0, tf.float32)], axis=-1)
        if self.feature.measure == "rate":
            (events, among), (a, b) = tf.split(raw, 2, axis=-1), self._prior
            return tf.math.log((events + a) / (tf.maximum(among, events) + (a + b)))
        return tf.math.log1p(raw)

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        self._kernel = self.kernel(len(self._mean), self.feature.dim)
        super().build(input_shape)

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        return encoded["value"] @ self._kernel

    def state(self) -> dict[str, np.ndarray]:
        return {"mean": self._mean, "deviation": self._deviation, "prior": np.asarray(self._prior)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._mean, self._deviation = (np.asarray(state[name], np.float32) for name in ("mean", "deviation"))
        a, b = map(float, state["prior"])
        self._prior = a, b


def beta_prior(events: np.ndarray, among: np.ndarray) -> tuple[float, float]:
    """(a, b) of the Beta distribution of the items' rates, by their moments (Kleinman 1973).

    The mean is that of all events. The variance between items is what their rates vary more than chance alone would
    give. Without a trial it is (1, 1).

    Args:
      events, among: float64 [items]: n events among N.
    """
    tried = among > 0
    events, among = np.minimum(events, among)[tried], among[tried]
    total, items = among.sum(), len(among)
    if not items:
        return 1.0, 1.0
    mean = float(np.clip(events.sum() / total, 1e-6, 1 - 1e-6))
    spread = float((among * (events / among - mean) ** 2).sum()) / (mean * (1 - mean))
    free = total - (among**2).sum() / total - (items - 1)
    alike = (spread - (items - 1)) / free if free > 0 else 0.0  # the correlation of two trials of one item
    size = 1 / float(np.clip(alike, 1e-4, 0.5)) - 1
    return mean * size, (1 - mean) * size


@layer_of(UserStatistic)
class UserStatisticField(AgedField):
    """Field of `UserStatistic`. Encoded as a history is: "index" and "age"."""

    feature: UserStatistic

    def __init__(self, feature: UserStatistic, items: IdField, seed: int = 0) -> None:
        super().__init__(feature, items, seed)
        self._autocast = False  # float16 does not tell the ages apart

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        self._kernel = self.kernel(len(self.feature.hours) + 2, self.feature.dim)
        super().build(input_shape)

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        return tf.cast(self.numbers(encoded) @ tf.cast(self._kernel, tf.float32), self.compute_dtype)

    def numbers(self, encoded: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """float32 [batch, windows + 2]: log(1 + events) of each window, log(1 + days since the last), any at all."""
        there, age = encoded["index"] >= 0, encoded["age"]
        counts = [
            tf.math.count_nonzero(there & (age <= hours / _HOURS) if hours else there, axis=1, dtype=tf.float32)
            for hours in self.feature.hours
        ]
        known = tf.cast(tf.reduce_any(there, axis=1), tf.float32)
        last = tf.reduce_min(tf.where(there, age, age.dtype.max), axis=1)
        days = tf.where(known > 0, tf.math.log1p(tf.where(known > 0, last, 0.0)), 0.0)
        return tf.stack([*(tf.math.log1p(n) for n in counts), days, known], axis=1)
