"""Attributes of items as columns. A rule is checked for a whole column at once."""

import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.values import is_list, is_text

TEXT, NUMBER, TRUTH = "text", "number", "truth value"


class Attributes:
    """The attributes of n items.

    Args:
      table: pa.Table of n rows. Its columns of text, numbers, truth values or lists of these are attributes; others
        are not. Whole numbers above 2**53 are compared as floats.

    Attributes:
      kinds: {attribute: kind}.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.kinds = {f.name: kind for f in table.schema if (kind := _kind(_single(f.type))) is not None}
        self._column = functools.lru_cache(None)(self._encoded)

    def __len__(self) -> int:
        return self.table.num_rows

    def like(self, rows: Sequence[Mapping[str, Any]]) -> "Attributes":
        """`Attributes` of other items with the same columns. A value of another type counts as missing.

        rows: list of {attribute: value}. Numbers are kept as floats, because rules compare floats, and numbers of
          events may not fit the table's type. A column is made at its first use.
        """
        schema = pa.schema([(f.name, _wide(f.type)) for f in self.table.schema if f.name in self.kinds])
        return _OfRows(schema, rows)

    def values(self, name: str) -> pa.Array:
        """pa.Array [n] of an attribute."""
        column = self.table[name].combine_chunks()
        return pa.array([], column.type) if isinstance(column, pa.ChunkedArray) else column  # of no chunk

    def any_of(self, name: str, values: Sequence[str | float]) -> np.ndarray:
        """bool [n]: is a value of the item among these? False for an item without a value."""
        codes, dictionary, rows = self._column(name)
        if dictionary is None:
            return self._of_rows(np.isin(codes, np.array(values, float)), rows)
        wanted = pc.index_in(pa.array(values, dictionary.type), value_set=dictionary).drop_null().to_numpy()
        hit = np.zeros(len(dictionary) + 1, bool)  # the last is for missing values, whose code is −1
        hit[wanted] = True
        return self._of_rows(hit[codes], rows)

    def between(self, name: str, least: float, most: float) -> np.ndarray:
        """bool [n]: has the item a number from `least` to `most`?"""
        numbers, _, rows = self._column(name)
        return self._of_rows((numbers >= least) & (numbers <= most), rows)

    def _of_rows(self, hits: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
        if rows is None:
            return hits
        found = np.zeros(len(self), bool)
        found[rows[hits]] = True
        return found

    def _encoded(self, name: str) -> tuple[np.ndarray, pa.Array | None, np.ndarray | None]:
        """(codes or numbers, dictionary or None, the items' rows if the values are lists, or None)."""
        column, rows = self.values(name), None
        if is_list(column.type):
            rows, column = pc.list_parent_indices(column).to_numpy(), column.flatten()
        if self.kinds[name] == TEXT:
            coded = column.dictionary_encode()
            return pc.fill_null(coded.indices, -1).to_numpy().astype(np.int32), coded.dictionary, rows
        numbers = column.cast(pa.int8() if self.kinds[name] == TRUTH else column.type).cast(pa.float64(), safe=False)
        return pc.fill_null(numbers, np.nan).to_numpy(), None, rows


class _OfRows(Attributes):
    """Attributes of rows as JSON values."""

    def __init__(self, schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(schema.empty_table())
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def values(self, name: str) -> pa.Array:
        kind = self.table.schema.field(name).type
        return pa.array([_fitting(row.get(name), kind) for row in self._rows], kind)


def _single(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if is_list(kind) else kind


def _kind(kind: pa.DataType) -> str | None:
    if is_text(kind):
        return TEXT
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return NUMBER
    return TRUTH if pa.types.is_boolean(kind) else None


def _wide(kind: pa.DataType) -> pa.DataType:
    single = pa.float64() if _kind(_single(kind)) == NUMBER else _single(kind)
    return pa.list_(single) if is_list(kind) else single


def _fitting(value: Any, kind: pa.DataType) -> str | float | list[str | float | None] | None:
    if not is_list(kind):
        return _plain(value, _kind(kind))
    return [_plain(single, _kind(kind.value_type)) for single in value] if isinstance(value, list) else None


def _plain(value: Any, kind: str | None) -> str | float | None:
    if value is None or not fits(value, kind):
        return None
    return float(value) if kind == NUMBER else value


def fits(value: object, kind: str | None) -> bool:
    """Is this JSON value of the kind of an attribute? A number must fit a float."""
    if kind == TEXT:
        return isinstance(value, str) and _is_utf8(value)
    if kind == TRUTH or isinstance(value, bool):
        return kind == TRUTH and isinstance(value, bool)
    return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True
