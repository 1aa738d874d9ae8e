"""Arrow values converted to a few plain types: string, int64, float64, bool and lists of these.

A column of 2 GiB or more has `large_string` or `large_list` in place of string or list: see `wide`.

A value that cannot be converted is marked, not raised, so that the rows can be counted.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data import wide
from tfrs_twotower.data.wide import one
from tfrs_twotower.errors import DataError
from tfrs_twotower.ids import MISSING_TEXTS, NO_IDS, missing_id

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_SECONDS = {"h": 3600, "d": 86_400}
_EXCEL_1970 = 25_569  # Excel's number of 1970-01-01
NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


def plain(array: pa.Array | pa.ChunkedArray, label: str) -> pa.Array:
    """Any Arrow array as one of the plain types. NaN becomes null, dates and times become seconds since 1970.

    Args:
      array: pa.Array or pa.ChunkedArray
      label: file and column, for the message

    Raises:
      DataError: the type (a struct, a map, a duration) has no plain form.
    """
    array = one(array)
    kind = array.type
    if pa.types.is_dictionary(kind):
        return plain(array.dictionary_decode(), label)
    if pa.types.is_boolean(kind):
        return array
    if is_list(kind):
        return _plain_list(array, label)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        values, ok = seconds(array, "s")
        return pa.array(values, mask=~ok)
    target = _target(kind, array.nbytes)
    if target is None:
        raise DataError(f"{label} has the type {kind}. Use text, numbers, booleans, times or lists of these.")
    try:
        array = array.cast(target)
    except pa.ArrowInvalid as error:
        raise DataError(f"{label} cannot be read as {target}: {error}") from error
    return pc.if_else(pc.is_nan(array), pa.scalar(None, target), array) if target == pa.float64() else array


def is_list(kind: pa.DataType) -> bool:
    """Is this Arrow type one of the list types?"""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def is_text(kind: pa.DataType) -> bool:
    """Is this Arrow type one of the text types?"""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _plain_list(array: pa.Array, label: str) -> pa.ListArray | pa.LargeListArray:
    lengths = pc.list_value_length(array)
    offsets = np.zeros(len(array) + 1, np.int64)
    np.cumsum(numpy(pc.fill_null(lengths, 0)), out=offsets[1:])
    # `flatten` leaves out the values under a null list, as the lengths above do.
    values = plain(array.flatten(), label)
    if offsets[-1] >= wide.MOST:
        return pa.LargeListArray.from_arrays(pa.array(offsets), values, mask=array.is_null())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, mask=array.is_null())


def _target(kind: pa.DataType, nbytes: int) -> pa.DataType | None:
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    other = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind)
    return (pa.string() if nbytes < wide.MOST else pa.large_string()) if is_text(kind) or other else None


def numpy(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """An Arrow array as a NumPy array, copied if Arrow packs it differently."""
    return array.to_numpy(zero_copy_only=False)


def ids(array: pa.Array | pa.ChunkedArray, label: str) -> tuple[pa.Array, np.ndarray]:
    """Ids as string or int64.

    Whole numbers stored as floats (as pandas stores a column with gaps) become int64. Null, -1 and the texts of
    `NO_IDS` are missing ids.

    Returns:
      (pa.Array of string or int64, null where missing or malformed; bool [n]: malformed: for example 1.5, and floats
      from 2^53 on, where neighbours share one float)
    """
    raw = one(array)
    if pa.types.is_boolean(raw.type) or pa.types.is_temporal(raw.type) or is_list(raw.type):
        raise DataError(f"{label} has the type {raw.type}. Ids are text or whole numbers.")
    array = plain(raw, label)
    malformed = np.zeros(len(array), bool)
    if pa.types.is_floating(array.type):
        numbers = numpy(array)
        with np.errstate(invalid="ignore"):
            whole = (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**53)
        malformed = ~np.isnan(numbers) & ~whole
        array = pa.array(np.where(whole, numbers, 0).astype(np.int64), mask=~whole)
    if is_text(array.type):
        none = pc.is_in(pc.utf8_trim_whitespace(array), value_set=pa.array(NO_IDS))
        return pc.if_else(none, pa.scalar(None, array.type), array), malformed
    missing = pc.equal(array, missing_id(int))
    return pc.if_else(missing, pa.scalar(None, pa.int64()), array), malformed


def missing(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """bool [n]: null or empty."""
    array = one(array)
    mask = numpy(array.is_null(nan_is_null=True))
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        mask = mask | numpy(pc.fill_null(pc.equal(array, ""), False))
    return mask


def numbers(array: pa.Array | pa.ChunkedArray, label: str) -> np.ndarray:
    """Numbers, or numbers as text, as float64 [n]: NaN where missing or not a number."""
    array = plain(array, label)
    if is_list(array.type):
        raise DataError(f"{label} has the type {array.type}. It must be a number.")
    if is_text(array.type):
        try:
            array = array.cast(pa.float64())
        except pa.ArrowInvalid:
            texts = pd.Series(array.to_pylist(), dtype=object)
            return pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
    return numpy(array.cast(pa.float64(), safe=False))


def labels(array: pa.Array | pa.ChunkedArray, label: str) -> np.ndarray:
    """Labels, also as text, as float64 [n]: 1 and 0 for true and false, NaN for other values."""
    array = plain(array, label)
    if is_text(array.type):
        words = pc.utf8_lower(pc.utf8_trim_whitespace(array))
        array = pc.if_else(pc.is_in(words, value_set=pa.array(["true", "false"])),
                           pc.if_else(pc.equal(words, "true"), "1", "0"), array)
    return numbers(array, label)


TIMES = "a number of a unit that `--time-unit` knows, or ISO 8601 text such as 2026-01-31T12:00:00Z"


def seconds(array: pa.Array | pa.ChunkedArray, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Times as seconds since 1970, UTC, rounded down.

    Takes dates, timestamps (without a zone: UTC), ISO 8601 text, and numbers in `unit` (one of `times.UNITS`) or text
    of such.

    Returns:
      (int64 [n], 0 where not a time; bool [n]: is a time)
    """
    array = one(array)
    kind = array.type
    if pa.types.is_date(kind):
        array = array.cast(pa.timestamp("s"))
    if pa.types.is_temporal(array.type):
        ok = numpy(array.is_valid())
        values = numpy(pc.fill_null(array.cast(pa.int64()), 0))
        return values // _PER_SECOND[array.type.unit], ok
    if pa.types.is_integer(kind) and unit in _PER_SECOND:
        ok = numpy(array.is_valid())
        return numpy(pc.fill_null(array.cast(pa.int64()), 0)) // _PER_SECOND[unit], ok
    array = plain(array, "timestamp")
    if is_text(array.type):
        return _seconds_of_text(array, unit)
    return _seconds_of_floats(numbers(array, "timestamp"), unit)


def calendar(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Digits of a date (yyyymm, yyyymmdd, or yyyymmdd with HH, MM, SS) as (seconds since 1970; bool [n]: is a date)."""
    with np.errstate(invalid="ignore"):
        whole = (values == np.floor(values)) & (values >= 197_001) & (values < 1e14)
    number = np.where(whole, values, 197_001).astype(np.int64)
    digits = np.floor(np.log10(number)).astype(np.int64) + 1
    number = np.where(digits == 6, number * 100 + 1, number)
    number = number * 10 ** (14 - np.maximum(digits, 8))
    date, time = number // 10**6, number % 10**6
    month = (date // 10_000 - 1970) * 12 + date // 100 % 100 - 1
    day = month.astype("datetime64[M]").astype("datetime64[D]") + (date % 100 - 1)
    parts = time // 10_000, time // 100 % 100, time % 100
    ok = whole & (digits % 2 == 0) & (month >= 0) & (date // 10_000 < 2100)
    ok &= (date // 100 % 100 >= 1) & (date // 100 % 100 <= 12)
    ok &= (day.astype("datetime64[M]").astype(np.int64) == month) & (parts[0] < 24) & (parts[1] < 60) & (parts[2] < 60)
    return day.astype(np.int64) * 86_400.0 + parts[0] * 3600 + parts[1] * 60 + parts[2], ok


def _seconds_of_floats(values: np.ndarray, unit: str) -> tuple[np.ndarray, np.ndarray]:
    if unit == "calendar":
        values, ok = calendar(values)
        values = np.where(ok, values, np.nan)
    elif unit == "excel":
        values = np.round((values - _EXCEL_1970) * 86_400)
    else:
        values = np.floor(values * _SECONDS[unit] if unit in _SECONDS else values / _PER_SECOND[unit])
    # 2^62 s is far outside of every accepted range and still fits int64.
    ok = np.isfinite(values) & (np.abs(values) < 2.0**62)
    return np.where(ok, values, 0).astype(np.int64), ok


def _seconds_of_text(array: pa.Array, unit: str) -> tuple[np.ndarray, np.ndarray]:
    numeric = numpy(pc.fill_null(pc.match_substring_regex(array, NUMBER), False))
    values, ok = np.zeros(len(array), np.int64), np.zeros(len(array), bool)
    if numeric.any():
        floats = numbers(array.filter(pa.array(numeric)), "timestamp")
        values[numeric], ok[numeric] = _seconds_of_floats(floats, unit)
    if not numeric.all():
        texts = array.filter(pa.array(~numeric)).to_pandas()
        times = pd.to_datetime(texts, errors="coerce", utc=True, format="ISO8601")
        stamps = times.dt.as_unit("s").to_numpy("datetime64[s]")
        ok[~numeric] = ~np.isnat(stamps)
        values[~numeric] = np.where(np.isnat(stamps), 0, stamps.astype(np.int64))
    return values, ok


def parse_text(array: pa.Array | pa.ChunkedArray, parse_as: str, label: str) -> tuple[pa.Array, np.ndarray]:
    """Text of a context column as numbers or times.

    Args:
      parse_as: "int64", "double" or "timestamp"

    Returns:
      (pa.Array of int64 or float64, null where missing or unparsable; bool [n]: unparsable)
    """
    array = plain(array, label)
    null = pc.is_in(pc.utf8_trim_whitespace(array), value_set=pa.array(MISSING_TEXTS))
    array = pc.if_else(null, pa.scalar(None, array.type), array)
    gone = numpy(array.is_null())
    if parse_as == "timestamp":
        values, ok = seconds(array, "s")
    else:
        values = numbers(array, label)
        with np.errstate(invalid="ignore"):
            ok = np.isfinite(values) if parse_as == "double" else values == np.floor(values)
        if parse_as == "int64":
            ok &= np.abs(np.nan_to_num(values)) < 2**53
            values = np.where(ok, values, 0).astype(np.int64)
    return pa.array(values, mask=gone | ~ok), ~gone & ~ok


def infinite(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """bool [n]: an infinite number (or a list with one)."""
    if pa.types.is_floating(array.type):
        return numpy(pc.fill_null(pc.is_inf(array), False))
    if is_list(array.type) and pa.types.is_floating(array.type.value_type):
        mask = np.zeros(len(array), bool)
        mask[pc.list_parent_indices(array).to_numpy()[infinite(array.flatten())]] = True
        return mask
    return np.zeros(len(array), bool)
