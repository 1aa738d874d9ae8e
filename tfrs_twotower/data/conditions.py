"""Conditions on the columns of events, as text (`rating >= 4`) and as tuples of a configuration."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data import values
from tfrs_twotower.data.source import INVALID, Columns
from tfrs_twotower.errors import ConfigError, DataError, invalid, nearest

_OPERATORS = {"==": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal,
              ">": pc.greater, ">=": pc.greater_equal}
_LIKED = "_liked"  # a column's name that no source has
_TEXT = re.compile(r"\s*(.*?[^\s=!<>])\s*(==|!=|<=|>=|=|<|>)\s*([^\s=!<>].*?)\s*")


def read_condition(text: str, argument: str) -> tuple[str, str, Any]:
    """(column, operator, value) of a text such as `rating >= 4`, `country == DE` or `customer != none`.

    A value is a number, true, false, none (missing) or text, which may stand in double quotes; = is ==.

    Raises:
      ConfigError: the text is no condition; the message names `argument`.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        way_out = f"Write for example {argument} \"rating >= 4\"."
        raise ConfigError(invalid(argument, "look like COLUMN OPERATOR VALUE", text, way_out))
    column, operator, value = match.groups()
    try:
        value = json.loads(value.lower() if value.lower() in ("true", "false", "none", "null") else value)
    except ValueError:
        value = None if value.lower() == "none" else value
    return column, "==" if operator == "=" else operator, value


def check_conditions(conditions: Iterable[tuple[str, str, Any]], argument: str) -> None:
    """Raises `DataError` for an unknown operator, or if a missing value is compared by size."""
    for column, operator, value in conditions:
        if operator not in _OPERATORS:
            raise DataError(f"`{argument}` has no operator {operator!r}.{nearest(operator, _OPERATORS)}")
        if value is None and operator not in ("==", "!="):
            rule = "use == or != to test for a missing value"
            raise DataError(invalid(argument, rule, f"{column} {operator} none", "Name a number."))


def columns_of(conditions: Iterable[tuple[str, str, Any]]) -> list[str]:
    """The columns that the conditions read, without repeats."""
    return list(dict.fromkeys(column for column, _, _ in conditions))


def fulfilled(batch: pa.RecordBatch | pa.Table, condition: tuple[str, str, Any], where: str) -> pa.BooleanArray:
    """pa.BooleanArray [n]: whether each row fulfils a condition; null where the value is missing.

    Args:
      batch: a pa.RecordBatch or pa.Table with the source's column names.
      condition: (column, operator, value).
      where: the file, for messages.

    Raises:
      DataError: the column cannot be compared with the value.
    """
    column, operator, value = condition
    array, label = values.one(batch.column(column)), f"{where}: column `{column}`"
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    if value is None:
        return pc.is_null(array) if operator == "==" else pc.is_valid(array)
    if isinstance(value, bool) or pa.types.is_boolean(array.type):
        array = pa.array(values.labels(array, label), from_pandas=True)
        value = float(value) if isinstance(value, (bool, int, float)) else value
    elif isinstance(value, (int, float)) and values.is_text(array.type):
        found = values.numbers(array, label)
        array = pc.if_else(array.is_valid(), pa.array(found), pa.scalar(None, pa.float64()))  # NaN equals no number
    try:
        text = isinstance(value, str) and not pa.types.is_string(array.type)
        return _OPERATORS[operator](array, pa.scalar(value).cast(array.type) if text else value)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{label} is {array.type} and cannot be compared with {value!r} ({error}). Compare numbers with "
            "a number, text with text, times with one such as 2026-01-31."
        ) from error


def rows_of(
    batch: pa.RecordBatch | pa.Table, columns: Columns, where: Sequence[tuple[str, str, Any]],
    positive: Sequence[tuple[str, str, Any]], file: str,
) -> tuple[pa.RecordBatch | pa.Table, Columns]:
    """The rows that `where` keeps, with a label column made of `positive`.

    A label is 1 if all conditions of `positive` are true and the source's own label, if it has one, is above 0. It is
    null if a value that one of these reads is missing; `ingest` counts that as a bad row.

    Args:
      batch: a pa.RecordBatch or pa.Table with the source's column names.
      columns: `Columns`.
      where, positive: ((column, operator, value), ...)
      file: for messages.

    Returns:
      (the batch, `columns` with that label column)
    """
    for condition in where:
        keep = fulfilled(batch, condition, file)
        if INVALID in batch.schema.names:  # a line that cannot be parsed stays, to be counted
            keep = pc.or_kleene(keep, batch.column(INVALID).is_valid())
        batch = batch.filter(keep)
    if not positive:
        return batch, columns
    liked = [fulfilled(batch, condition, file) for condition in positive]
    if columns.label is not None:
        label = values.labels(batch.column(columns.label), f"{file}: column `{columns.label}`")
        liked.append(pc.greater(pa.array(label, from_pandas=True), 0.0))
    every = functools.reduce(pc.and_kleene, liked).cast(pa.int64())
    return batch.append_column(_LIKED, every), dataclasses.replace(columns, label=_LIKED)
