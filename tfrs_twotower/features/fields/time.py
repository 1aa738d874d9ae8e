"""A moment: the hour, the weekday, the month, the season, holidays, and how long ago."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.configuration import layer_of
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features.calendar import holiday_days, offset_changes
from tfrs_twotower.features.fields.field import Field
from tfrs_twotower.features.kinds import Time
from tfrs_twotower.features.lookup import fingerprints
from tfrs_twotower.features.tensors import to_tensor

_HOUR = 3600
_DAY = 86400
_MONDAY = 3  # 1 January 1970 was a Thursday: day 3 of a week that starts on Monday.
_ROWS = {"hour": 24, "weekday": 7, "month": 12, "season": 4, "holiday": 3, "recency": 1}
_SPAN = 2**40  # seconds of a zone in the table of all zones


@layer_of(Time)
class TimeField(Field):
    """Field of `schema.Time`.

    Encoded: {"present": float32 [batch], 0 where missing} and, as declared, "hour" int32 (0 … 23), "weekday" int32
    (0 is Monday), "month" int32 (0 is January), "season" int32 (0 is from December to February), "holiday" int32 (1 a
    holiday, 2 the day before one, 0 any other), "recency" float32, log(1 + days).
    """

    feature: Time
    _zones: Sequence[str] = ()
    _holidays = np.zeros(0, np.int64)

    def inputs(self) -> dict[str, tf.TensorSpec]:
        inputs = {self.feature.column: tf.TensorSpec([None], tf.int64)}
        if self.feature.zone_column:
            inputs[self.feature.zone_column] = tf.TensorSpec([None], tf.string)
        return inputs

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        column, zones, seen = self.feature.column, self.feature.zone_column, np.asarray(counts) > 0
        times = to_tensor(columns[column], tf.TensorSpec([None], tf.int64), column).numpy()
        self._newest = int(times[seen].max(initial=0))
        if zones:
            names = to_tensor(columns[zones], tf.TensorSpec([None], tf.string), zones).numpy()[seen]
            self._know([name for text in np.unique(names.astype(bytes)) if _is_zone(name := text.decode())])
        if self.feature.holidays:
            self._holidays = holiday_days(self.feature.holidays)

    def _know(self, zones: Sequence[str]) -> None:
        codes = fingerprints(tf.constant(zones, tf.string, [len(zones)])).numpy()
        order = np.argsort(codes)
        self._zones, self._codes = [zones[at] for at in order], codes[order]

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        time = raw[self.feature.column]
        present = time > 0
        time = tf.where(present, time, 0)
        days = tf.cast(tf.maximum(self._newest - time, 0), tf.float32) / _DAY
        local = time + self._offset(time, raw)
        month = _month(local // _DAY)
        parts = {
            "hour": tf.cast(local // _HOUR % 24, tf.int32),
            "weekday": tf.cast((local // _DAY + _MONDAY) % 7, tf.int32),
            "month": tf.cast(month - 1, tf.int32),
            "season": tf.cast(month % 12 // 3, tf.int32),
            "holiday": self._holiday(local // _DAY),
            "recency": tf.where(present, tf.math.log1p(days), 0.0),
        }
        return {"present": tf.cast(present, tf.float32), **{part: parts[part] for part in self.feature.parts}}

    def _offset(self, time: tf.Tensor, raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """int64 [batch]: the seconds by which local time is ahead of UTC."""
        zones = self._zones if self.feature.zone_column else [self.feature.zone]
        if not any(zones):
            return tf.zeros_like(time)
        changes = [offset_changes(name) for name in zones]
        starts = np.concatenate([row * _SPAN + times for row, (times, _) in enumerate(changes)])
        offsets = tf.constant(np.concatenate([offsets for _, offsets in changes]))
        row, known = tf.zeros_like(time), time >= 0
        if self.feature.zone_column:
            asked = fingerprints(raw[self.feature.zone_column])
            row = tf.minimum(tf.searchsorted(self._codes, asked, out_type=tf.int64), len(zones) - 1)
            known = tf.gather(self._codes, row) == asked
        at = tf.searchsorted(starts, row * _SPAN + time, side="right") - 1
        return tf.where(known, tf.gather(offsets, at), 0)

    def _holiday(self, day: tf.Tensor) -> tf.Tensor:
        """int32 [batch]: 1 on a holiday, 2 on the day before one, 0 on any other day since 1970."""
        if not len(self._holidays):
            return tf.zeros_like(day, tf.int32)

        def among(days: tf.Tensor) -> tf.Tensor:
            place = tf.minimum(tf.searchsorted(self._holidays, days), len(self._holidays) - 1)
            return tf.gather(self._holidays, place) == days

        return tf.where(among(day), 1, tf.where(among(day + 1), 2, 0))

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        dim = self.feature.dim
        # Not `Embedding`s: Keras would sort their weights, and an optimizer's slots follow the weights' order.
        self._weights = {
            part: self.add_weight(part, (_ROWS[part], dim), initializer=self.uniform(part))
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

    def state(self) -> dict[str, np.ndarray | np.number]:
        state: dict[str, np.ndarray | np.number] = {"newest": np.int64(self._newest)}
        if self.feature.zone_column:
            state["zones"] = np.array(self._zones, str)
        if self.feature.holidays:
            state["holidays"] = self._holidays
        return state

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._newest = int(state["newest"])
        self._know(np.asarray(state.get("zones", ())).tolist())
        self._holidays = np.asarray(state.get("holidays", ()), np.int64)


def _month(day: tf.Tensor) -> tf.Tensor:
    """int64 [batch]: the month, from 1, of days since 1970 (Hinnant: years from March on, in eras of 400 years)."""
    of_era = (day + 719_468) % 146_097
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    return (month + 2) % 12 + 1


def _is_zone(name: str) -> bool:
    """Whether there is such a time zone; others are taken as UTC."""
    try:
        return bool(name) and len(offset_changes(name)) == 2
    except ConfigError:
        return False
