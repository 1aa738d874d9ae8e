"""Lists of items in place of trained towers: the same interface, and scores that put the lists one after the other.

An answer begins with the lists that the request's context names, in the order of the rules, and goes on with the whole
catalogue in its global order. An item in several lists stands in the first one. As vectors: dimension 0 is the global
order, and every list has its own dimension. An item's value there is

    0                            if the list does not hold it,
    (rules − r) + position       in a list of rule r (the first is 0), position in (0, 1], falling along the list,
    position                     in the global order.

A query has one interest for the global order and one for each rule: the unit vector of the list that the context names.
The best interest counts, so the score tells the rule (by its whole part) and the position.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.coldstart.categories import pairs
from tfrs_twotower.errors import DataError, invalid
from tfrs_twotower.features import FingerprintLookup, fingerprints, key_tensor, to_tensor
from tfrs_twotower.ids import is_missing_id, missing_id

# Context fields that are read from the request's time, as `Time` reads them.
MOMENTS: tuple[Literal["hour", "weekday"], ...] = ("hour", "weekday")


@dataclasses.dataclass(frozen=True)
class ByColumn:
    """The items whose `column` holds the value of the request's context field `field`, in the global order.

    Attributes:
      field: such as a country or a device. `hour` (0 … 23) and `weekday` (0 is Monday), in UTC, are those of the
        request's `timestamp`.
      column: of the items: a value, or a list of values.
    """

    field: str
    column: str


@dataclasses.dataclass(frozen=True)
class ByList:
    """Lists made by hand, or counted elsewhere.

    Attributes:
      field: as in `ByColumn`.
      lists: {value of the field: item ids, best first}.
    """

    field: str
    lists: dict


class RuleItem(tf.Module):
    """The candidate tower: raw item columns → [batch, dimensions].

    Args:
      items: `pa.Table` with `item_id` and the columns that the rules and `order` name.
      rules: a sequence of `ByColumn` and `ByList`.
      order: a column of numbers or times, the largest first; items without a value come last. None: the order of the
        table; items outside of it come last.
      ascending: the smallest first.

    Raises:
      DataError: a column is missing, a list has an item that the table lacks, or an id comes twice.
    """

    def __init__(
        self,
        items: pa.Table,
        rules: Sequence[ByColumn | ByList] = (),
        order: str | None = None,
        ascending: bool = False,
    ) -> None:
        super().__init__()
        _check_ids(items)
        self._whole = _ByRow(items) if order is None else _ByNumber(items, order, ascending)
        self.lists = [_OfColumn(rule, items) if isinstance(rule, ByColumn) else _OfLists(rule, items) for rule in rules]
        self.dim = 1 + sum(one.size for one in self.lists)

    def inputs(self) -> dict[str, tf.TensorSpec]:
        """{column: tf.TensorSpec}."""
        return {name: spec for part in (self._whole, *self.lists) for name, spec in part.inputs.items()}

    def encode(self, raw: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        """The raw columns, unchanged."""
        return raw

    def __call__(self, raw: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        whole = self._whole(raw)[:, tf.newaxis]
        parts = [
            tf.where(one.holds(raw), float(len(self.lists) - r) + one.place(raw, whole), 0.0)
            for r, one in enumerate(self.lists)
        ]
        return tf.concat([whole, *parts], axis=1)


class RuleQuery(tf.Module):
    """The query tower: raw context fields → [batch, 1 + rules, dimensions].

    Args:
      tower: the `RuleItem`.
      ignored: {input name: tf.TensorSpec}: further inputs of requests, for the later trained model.
    """

    user_table = None

    def __init__(self, tower: RuleItem, ignored: Mapping[str, tf.TensorSpec]) -> None:
        super().__init__()
        self._tower, self._ignored = tower, ignored

    def inputs(self) -> dict[str, tf.TensorSpec]:
        """{name: tf.TensorSpec}."""
        read = {}
        for one in self._tower.lists:
            moment = one.field in MOMENTS
            read[c.TIMESTAMP if moment else one.field] = tf.TensorSpec([None], tf.int64 if moment else one.dtype)
        return {**self._ignored, **read}

    def encode(self, raw: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        """The raw fields, unchanged."""
        return raw

    def __call__(self, raw: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        batch = tf.shape(next(iter(raw.values())))[0]
        # The lists' numbers among all dimensions; 0 where the context names none, and then −1, which is no dimension.
        start, numbers = 1, [tf.zeros([batch], tf.int32)]
        for one in self._tower.lists:
            number = one.values(self._field(one, raw))
            numbers.append(tf.where(number > 0, start + number - 1, -1))
            start += one.size
        return tf.one_hot(tf.stack(numbers, axis=1), self._tower.dim)

    def _field(self, one: "_OfColumn | _OfLists", raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        if one.field not in MOMENTS:
            return raw[one.field]
        time = raw[c.TIMESTAMP]
        days, seconds = time // 86_400, time % 86_400
        part = seconds // 3600 if one.field == "hour" else (days + 3) % 7  # 1 January 1970 was a Thursday
        return tf.where(time > 0, part, missing_id(int))


class _ByNumber(tf.Module):
    """1 minus the share of the items before this one; 0 for an item without a value."""

    def __init__(self, items: pa.Table, column: str, ascending: bool) -> None:
        super().__init__()
        if column not in items.column_names:
            pairs(items, column)  # says so
        self._column, self._sign = column, -1.0 if ascending else 1.0
        self.inputs = {column: tf.TensorSpec([None], tf.float32)}
        values = self._sign * to_tensor(items[column], self.inputs[column], column).numpy()
        self._values = tf.Variable(np.sort(values[np.isfinite(values)]), trainable=False)
        self._size = items.num_rows

    def __call__(self, raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        value = self._sign * raw[self._column]
        there = tf.math.is_finite(value)
        values = self._values.read_value()
        behind = tf.searchsorted(values, tf.where(there, value, -np.inf), side="right")
        rank = tf.size(values) - behind
        return tf.where(there, 1.0 - tf.cast(rank, tf.float32) / self._size, 0.0)


class _ByRow(tf.Module):
    """The first row 1, the last 1 / n, an unknown item 0."""

    inputs: dict

    def __init__(self, items: pa.Table) -> None:
        super().__init__()
        ids = key_tensor(items[c.ITEM_ID], c.ITEM_ID)
        self.inputs = {c.ITEM_ID: tf.TensorSpec([None], ids.dtype)}
        self._rows, self._size = FingerprintLookup(ids), items.num_rows

    def __call__(self, raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        row = tf.cast(self._rows(raw[c.ITEM_ID]), tf.float32)
        return tf.where(row > 0, (self._size + 1 - row) / self._size, 0.0)


class _OfColumn(tf.Module):
    """The lists of a `ByColumn`, one for each value of the column."""

    def __init__(self, rule: ByColumn, items: pa.Table) -> None:
        super().__init__()
        self.field, self._column = rule.field, rule.column
        self.values, self.dtype = _vocabulary(rule.field, pairs(items, rule.column)[1])
        self.size = self.values.vocabulary_size() - 1
        kind = items[rule.column].type
        shape = [None, None] if hasattr(kind, "value_type") and not hasattr(kind, "index_type") else [None]
        self.inputs = {rule.column: tf.TensorSpec(shape, self.dtype)}

    def holds(self, raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        value = raw[self._column]
        number = self.values(value if len(value.shape) == 2 else value[:, tf.newaxis])
        return tf.reduce_any(number[:, :, tf.newaxis] == tf.range(1, self.size + 1), axis=1)

    def place(self, raw: Mapping[str, tf.Tensor], whole: tf.Tensor) -> tf.Tensor:
        return whole


class _OfLists(tf.Module):
    """The lists of a `ByList`."""

    def __init__(self, rule: ByList, items: pa.Table) -> None:
        super().__init__()
        self.field = rule.field
        self.values, self.dtype = _vocabulary(rule.field, list(rule.lists))
        self.size = self.values.vocabulary_size() - 1
        ids = key_tensor(items[c.ITEM_ID], c.ITEM_ID)
        row = {str(item): i for i, item in enumerate(items[c.ITEM_ID].to_pylist())}
        places = np.zeros((items.num_rows + 1, self.size), np.float32)
        for value, listed in rule.lists.items():
            number = int(self.values(tf.constant([value], self.dtype))[0]) - 1
            for place, item in reversed(list(enumerate(listed))):  # if an item comes twice, the first counts
                if str(item) not in row:
                    raise DataError(invalid(f"lists[{value!r}]", "name items of the table", item, "Leave it out."))
                places[1 + row[str(item)], number] = 1 - place / len(listed)
        self.inputs = {c.ITEM_ID: tf.TensorSpec([None], ids.dtype)}
        listed = np.flatnonzero(places.max(axis=1))
        self._items = FingerprintLookup(fingerprints(ids).numpy()[listed - 1])
        self._places = tf.Variable(places[np.concatenate([[0], listed])], trainable=False)

    def holds(self, raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return self.place(raw, None) > 0

    def place(self, raw: Mapping[str, tf.Tensor], whole: tf.Tensor | None) -> tf.Tensor:
        return tf.gather(self._places, self._items(raw[c.ITEM_ID]))


def _vocabulary(field: str, values: Sequence[Any]) -> tuple[FingerprintLookup, tf.DType]:
    """(`FingerprintLookup` of the distinct values, their dtype)."""
    distinct = list(dict.fromkeys(int(v) if isinstance(v, float) and v.is_integer() else v for v in values))
    kinds = {type(value) for value in distinct}
    if kinds not in ([{int}] if field in MOMENTS else [{int}, {str}]):
        rule = "have values, all of them " + ("whole numbers" if field in MOMENTS else "text or all whole numbers")
        raise DataError(invalid(field, rule, distinct[:5], "Look at the column or the lists."))
    dtype = tf.string if kinds == {str} else tf.int64
    return FingerprintLookup(tf.constant(distinct, dtype)), dtype


def _check_ids(items: pa.Table) -> None:
    ids = items[c.ITEM_ID].to_pylist()
    if not ids:
        raise DataError("The item table has no rows. Nothing can be recommended.")
    for item, count in collections.Counter(ids).items():
        if is_missing_id(item) or count > 1:
            raise DataError(invalid(c.ITEM_ID, "be given for every item, and unique", item, "Look at the item table."))
