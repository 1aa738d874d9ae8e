"""Types of text columns: numbers, booleans, times, and lists of several values in one cell."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.values import is_list, is_text
from tfrs_twotower.ids import MISSING_TEXTS

SEPARATOR = "|"
_ORDER = ("null", "bool", "int64", "double")
_WHOLE, _PADDED = r"^\s*[-+]?\d+\s*$", r"^\s*[-+]?0\d"
_RARE = 0.01  # a smaller share of cells with the character is chance
_MANY = 0.2  # a larger share, without a blank beside it, is a separator
_DISTINCT = 0.8  # above this share of distinct values, cells are no lists of categories
_LOOKED_AT = 1000


def kind_of(array: pa.Array | pa.ChunkedArray) -> str:
    """"null", "bool", "int64", "double", "timestamp" or "string": the first type that fits all text of an array.

    Digits with a leading zero are text, as they are a code, such as a postal code.
    """
    texts = _without_missing(array).drop_null()
    if not len(texts):
        return "null"
    if pc.all(pc.is_in(pc.utf8_lower(texts), pa.array(["true", "false"]))).as_py():
        return "bool"
    padded = pc.any(pc.match_substring_regex(texts, _PADDED)).as_py()
    if not padded and pc.all(pc.match_substring_regex(texts, _WHOLE)).as_py():
        return "int64" if _cast(texts, pa.int64()) is not None else "string"
    if not padded and _cast(texts, pa.float64()) is not None:
        return "double"
    return "string" if _times(texts) is None else "timestamp"


def widest(kinds: Iterable[str]) -> str:
    """The kind that fits texts of all these kinds."""
    kinds = set(kinds) - {"null"}
    if len(kinds) < 2:
        return kinds.pop() if kinds else "null"
    return "double" if kinds == {"int64", "double"} else "string"


def typed(array: pa.Array | pa.ChunkedArray, kind: str | None = None) -> pa.Array | pa.ChunkedArray:
    """An array of text converted to `kind`, or to the kind that fits it; null where it is missing."""
    array = _without_missing(array)
    kind = kind or kind_of(array)
    if kind == "timestamp":
        return _times(array)
    if kind == "bool":
        return pc.equal(pc.utf8_lower(array), "true")
    return _cast(array, {"int64": pa.int64(), "double": pa.float64()}.get(kind, pa.string()))


def split_cells(
    table: pa.Table, id_name: str, separators: Mapping[str, str], where: str
) -> tuple[pa.Table, list[str]]:
    """(the table with cells of several values as lists, a note for each such column).

    It detects JSON and Python lists, `["Action", "Comedy"]`, and categories such as `Action|Comedy`, if their values
    recur or many cells have the separator.

    Args:
      table: pa.Table
      id_name: its column of ids, which stays
      separators: {column: the separator of its values, "" where a cell is one value}
      where: the file, for messages
    """
    notes = []
    for place, name in enumerate(table.column_names):
        column = table[name]
        if name == id_name or not is_text(column.type) or separators.get(name) == "":
            continue
        if separators.get(name):
            found, how = split(column, separators[name]), None
        elif _share(pc.starts_with(column, "[")) == 1:
            found, how = _literals(column), "lists"
        else:
            found, how = _categories(column), f"parted by `{SEPARATOR}`"
        if found is not None:
            table = table.set_column(place, name, found)
            if how:
                notes.append(f"{where}: the cells of `{name}` hold several values, {how} "
                             f"(`--separator '{name}='` keeps them whole)")
    return table, notes


def _share(mask: pa.Array | pa.ChunkedArray) -> float:
    return pc.mean(pc.cast(mask, pa.float64())).as_py() or 0.0


def split(column: pa.Array | pa.ChunkedArray, separator: str, kind: pa.DataType = pa.string()) -> pa.ChunkedArray:
    """A text column as lists of the stripped, non-empty values between the separators, of Arrow type `kind`."""
    def lists(chunk: pa.Array) -> pa.Array:
        parts = pc.split_pattern(chunk, separator).to_pylist()
        values = [None if row is None else [v.strip() for v in row if v.strip()] for row in parts]
        return pa.array(values, pa.list_(pa.string())).cast(pa.list_(kind))

    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return pa.chunked_array([lists(chunk) for chunk in chunks], pa.list_(kind))


def _categories(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    share = _share(pc.match_substring(column, SEPARATOR))
    if share < _RARE:
        return None
    found = split(column, SEPARATOR)
    members = pc.list_flatten(found)
    again = pc.count_distinct(members).as_py() <= _DISTINCT * len(members)
    many = share >= _MANY and not pc.any(pc.match_substring_regex(column, r"\s\||\|\s")).as_py()
    return found if again or many else None


def _literals(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    texts = column.to_pylist()
    for read in (json.loads, ast.literal_eval):
        try:
            values = [None if text is None else list(read(text)) for text in texts]
            array = pa.array(values)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, pa.ArrowException):
            continue
        inner = array.type.value_type if is_list(array.type) else None
        if inner is not None and not pa.types.is_nested(inner):
            return pa.chunked_array([array if not pa.types.is_null(inner) else array.cast(pa.list_(pa.string()))])
    return None


def _without_missing(array: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    missing = pc.is_in(pc.utf8_trim_whitespace(array), pa.array(MISSING_TEXTS))
    return pc.if_else(missing, pa.scalar(None, pa.string()), array)


def _cast(array: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array | pa.ChunkedArray | None:
    try:
        return array if pa.types.is_string(kind) else pc.utf8_trim_whitespace(array).cast(kind)
    except pa.ArrowInvalid:
        return None


def _times(array: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray | None:
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        if (found := _cast(array, kind)) is not None:
            return found
    return None
