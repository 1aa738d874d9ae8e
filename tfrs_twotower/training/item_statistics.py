"""The statistics of a log's items at any hour, for the steps of a training, evaluations and exports."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.data import InteractionLog
from tfrs_twotower.data.statistics import HOUR, Happenings, Operations, Statistic, happenings
from tfrs_twotower.features import Field, StatisticField

_SAMPLE = 65_536  # items at moments, from which the fields learn
GRAPH = Operations(
    tf.searchsorted, tf.gather, tf.clip_by_value, tf.where,
    lambda parts: tf.stack([tf.cast(part, tf.float32) for part in parts], axis=-1),
)


class ItemStatistics:
    """The `ItemStatistic`s of a schema.

    Args:
      fields: the candidate fields; only `StatisticField`s count.
      log: an `InteractionLog`.
      known: int64, log rows, ascending: training learns from these alone.
      visible: bool [log rows] or None: the events that count.

    Attributes:
      fields: the `StatisticField`s.
      latest: the hour after the last known event.
      end: the hour after the last event of the log.
    """

    def __init__(
        self, fields: Iterable[Field], log: InteractionLog, known: np.ndarray, visible: np.ndarray | None = None
    ) -> None:
        self.fields = [field for field in fields if isinstance(field, StatisticField)]
        self._log, self._known, self._visible = log, known, visible
        events = self.events()
        self._of = {
            f.feature.column: Statistic.of(f.feature.spec, events).converted(tf.constant) for f in self.fields
        }
        self.latest, self.end = (int(log.timestamp[rows].max()) // HOUR + 1 for rows in (known, slice(None)))

    def events(self) -> Happenings:
        """The events that count. They are made anew, as they take more memory than the statistics."""
        return happenings(self._log, self._visible)

    def values(self, items: np.ndarray, hours: np.ndarray | int) -> dict[str, np.ndarray]:
        """{column: float32 [n, width]} of item rows at hours."""
        items = np.asarray(items, np.int64)
        asked = tf.constant(items), tf.constant(np.broadcast_to(np.asarray(hours, np.int64), items.shape))
        return {column: one.values(*asked, GRAPH).numpy() for column, one in self._of.items()}

    def encoded(self, items: tf.Tensor, hours: tf.Tensor) -> dict[str, dict[str, tf.Tensor]]:
        """{field name: encoded} of item rows at hours, int64 [n] each. Graph code."""
        raw = {column: one.values(items, hours, GRAPH) for column, one in self._of.items()}
        return {field.name: field.encode(raw) for field in self.fields}

    def moments(self, timestamps: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        """(hours, int [n]: the place in them of each time's hour).

        If there were more than `most` hours, several share the first of them, but none before the end of training.

        timestamps: int64 [n], seconds since 1970.
        """
        hours, step = timestamps // HOUR, 1
        while len(np.unique(hours // step)) > most:
            step *= 2
        return np.unique(np.maximum(hours // step * step, np.minimum(hours, self.latest)), return_inverse=True)

    def sample(self, field: StatisticField) -> tuple[dict[str, pa.Array], np.ndarray]:
        """The arguments of `Field.adapt`: items with a known event, at the hours of known events, drawn evenly."""
        rng, column = np.random.default_rng(0), field.feature.column
        items = rng.choice(np.unique(self._log.item[self._known]), _SAMPLE)
        hours = self._log.timestamp[rng.choice(self._known, _SAMPLE)] // HOUR
        values = self.values(items, hours)[column]
        lists = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        return {column: lists.cast(pa.list_(pa.float32()))}, np.ones(_SAMPLE, np.int64)
