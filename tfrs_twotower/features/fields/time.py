"""A moment: the hour, the weekday, and how long ago."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.configuration import layer_of
from tfrs_twotower.features.fields.field import Field
from tfrs_twotower.features.kinds import Time
from tfrs_twotower.features.tensors import to_tensor

_HOUR = 3600
_DAY = 86400
_MONDAY = 3  # 1 January 1970 was a Thursday: day 3 of a week that starts on Monday.


@layer_of(Time)
class TimeField(Field):
    """Field of `schema.Time`.

    Encoded: {"present": float32 [batch], 0 where missing} and, as declared, "hour" int32 (0 … 23),
    "weekday" int32 (0 is Monday), "recency" float32, log(1 + days).
    """

    feature: Time

    def inputs(self) -> dict[str, tf.TensorSpec]:
        return {self.feature.column: tf.TensorSpec([None], tf.int64)}

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        column = self.feature.column
        times = to_tensor(columns[column], tf.TensorSpec([None], tf.int64), column).numpy()
        self._newest = int(times[np.asarray(counts) > 0].max(initial=0))

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        time = raw[self.feature.column]
        present = time > 0
        time = tf.where(present, time, 0)
        days = tf.cast(tf.maximum(self._newest - time, 0), tf.float32) / _DAY
        parts = {
            "hour": tf.cast(time // _HOUR % 24, tf.int32),
            "weekday": tf.cast((time // _DAY + _MONDAY) % 7, tf.int32),
            "recency": tf.where(present, tf.math.log1p(days), 0.0),
        }
        return {"present": tf.cast(present, tf.float32), **{part: parts[part] for part in self.feature.parts}}

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        dim = self.feature.dim
        rows = {"hour": 24, "weekday": 7, "recency": 1}
        # Not `Embedding`s: Keras would sort their weights, and an optimizer's slots follow the weights' order.
        self._weights = {
            part: self.add_weight(part, (rows[part], dim), initializer=self.uniform(part))
            for part in self.feature.parts
        }
        super().build(input_shape)

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        total = 0.0
        for part in self.feature.parts:
            if part == "recency":
                total += encoded["recency"][:, tf.newaxis] * self._weights[part]
            else:
                total += tf.gather(self._weights[part], encoded[part])
        return total * encoded["present"][:, tf.newaxis]

    def state(self) -> dict[str, np.int64]:
        return {"newest": np.int64(self._newest)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._newest = int(state["newest"])
