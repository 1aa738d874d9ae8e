"""What a history reads of an event besides its item and time. Each part gives a vector that is added to the item's."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.columns import DWELL, EVENT
from tfrs_twotower.data.values import is_list
from tfrs_twotower.data.wide import one
from tfrs_twotower.features.fields.category import CategoryField
from tfrs_twotower.features.fields.field import RowField
from tfrs_twotower.features.fields.multi_value import MultiValueField
from tfrs_twotower.features.kinds import Category, MultiValue, Number
from tfrs_twotower.features.lookup import grown
from tfrs_twotower.features.tensors import to_tensor

_HALVINGS = 64  # log buckets of seconds, and one for a missing time
_WIDTH = 20  # values of an item that count


class KindField(CategoryField):
    """The kinds of events, text; row 0 is a kind that training did not meet."""

    def __init__(self, dim: int, seed: int) -> None:
        super().__init__(Category(EVENT, dim=dim), seed)

    def codes(self, values: tf.Tensor) -> tf.Tensor:
        """int32 of the shape of `values` (text): the rows of the kinds."""
        return self.index(values)


class DwellField(RowField):
    """Seconds, in buckets of a factor of √2; row 0 is a missing time."""

    rows = _HALVINGS + 1

    def __init__(self, dim: int, seed: int) -> None:
        super().__init__(Number(DWELL, dim=dim), seed)

    def codes(self, values: tf.Tensor) -> tf.Tensor:
        """int32 of the shape of `values` (float32): 1 + ⌊2·log₂(1 + seconds)⌋, at most 64; 0 for NaN and below 0."""
        there = tf.math.is_finite(values) & (values >= 0)
        steps = tf.math.log1p(tf.where(there, values, 0.0)) * (2.0 / 0.6931472)
        return tf.where(there, 1 + tf.minimum(tf.cast(steps, tf.int32), _HALVINGS - 1), 0)

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        """Does nothing: buckets are fixed."""

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Does nothing."""


class ItemValuesField(MultiValueField):
    """The values of a column of the item table, by the row of the item's id; an unknown item has none."""

    def __init__(self, column: str, dim: int, seed: int) -> None:
        super().__init__(MultiValue(column, dim=dim, length=_WIDTH), seed)

    def learn_items(
        self, column: pa.ChunkedArray, counts: np.ndarray, rows: np.ndarray, size: int, grow: bool = False
    ) -> None:
        """Learns the values, and which of them each item has.

        Args:
          column: [items]: a value or a list of values each.
          counts: int64 [items]: training events.
          rows: int32 [items]: the row of each item's id; 0: not learned.
          size: the number of rows.
          grow: values that are known keep their numbers.
        """
        column = one(column)
        if not is_list(column.type):
            column = pa.ListArray.from_arrays(np.arange(len(column) + 1, dtype=np.int32), column)
        columns, known = {self.feature.column: column}, self.vocabulary if grow else None
        self.adapt(columns, counts)
        if known is not None:
            self.vocabulary = grown(known, self.vocabulary)
        index = self.encode({self.feature.column: to_tensor(column, self.inputs()[self.feature.column])})["index"]
        width = max(int(tf.reduce_max(tf.reduce_sum(tf.cast(index >= 0, tf.int32), axis=1))), 1)
        table = np.full([size, width], -1, np.int32)
        table[rows] = np.sort(index.numpy(), axis=1)[:, ::-1][:, :width]
        table[0] = -1
        self._set(table)

    def _set(self, table: np.ndarray) -> None:
        self._of_rows = tf.Variable(table, trainable=False, name="of_rows")

    def alike(self, rows: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        """bool of the shape of both: whether two items, by the rows of their ids, have the same values, and any."""
        one, other = (tf.gather(self._of_rows, self._known(r)) for r in (rows, others))
        return tf.reduce_all(one == other, axis=-1) & (one[..., 0] >= 0)

    def _known(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.where((rows >= 0) & (rows < tf.shape(self._of_rows)[0]), rows, 0)

    def of_items(self, rows: tf.Tensor) -> tf.Tensor:
        """float32 [n, dim]: the mean vector of the values of items, given the rows of their ids [n]."""
        return self({"index": tf.gather(self._of_rows, self._known(rows))})

    def state(self) -> Mapping[str, np.ndarray | np.number]:
        return {**super().state(), "of_rows": self._of_rows.numpy()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self._set(state["of_rows"])


PARTS: Mapping[str, type[KindField] | type[DwellField]] = {EVENT: KindField, DWELL: DwellField}
