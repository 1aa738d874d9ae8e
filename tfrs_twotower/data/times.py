"""The times of events: a check of their range, and the unit of numbers, detected by their size."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.columns import TIMESTAMP
from tfrs_twotower.data import values
from tfrs_twotower.data.rejects import Checks
from tfrs_twotower.data.source import UNIT
from tfrs_twotower.errors import DataError

UNITS = ("s", "ms", "us", "ns", "h", "d", "calendar", "excel")
_1973, _2100 = 1e8, 4.1e9  # seconds
_MOST = 0.99  # of the numbers must fit a unit
_SCALES = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_READ_AS = {
    "ms": "milliseconds since 1970", "us": "microseconds since 1970", "ns": "nanoseconds since 1970",
    "calendar": "digits of a date (yyyymmdd, then hours, minutes and seconds where there are such)",
    "excel": "Excel's days",
}


def numbers_of(times: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """float64 [any]: the times that are finite numbers, or text of such."""
    times = values.one(times)
    if pa.types.is_temporal(times.type) or pa.types.is_date(times.type):
        return np.zeros(0)
    times = values.plain(times, "timestamp")
    if values.is_text(times.type):
        times = times.filter(pc.fill_null(pc.match_substring_regex(times, values.NUMBER), False))
    found = values.numbers(times, "timestamp")
    return found[np.isfinite(found)]


def found_unit(numbers: np.ndarray, where: str) -> tuple[str, str | None]:
    """(the unit of the numbers, one of `UNITS`; a note for the report, or None).

    Numbers too small for a time after 1973 are read as seconds: they still give an order.

    Raises:
      DataError: they are years, which do not order the events within a year.
    """
    example = f"{numbers[0]:.15g}"
    for unit, fits in (
        ("calendar", values.calendar(numbers)[1]), ("excel", (numbers >= 20_000) & (numbers < 80_000)),
        *((unit, (numbers >= _1973 * scale) & (numbers < _2100 * scale)) for unit, scale in _SCALES.items()),
    ):
        if fits.mean() >= _MOST:
            note = f"timestamp: numbers such as {example} are read as {_READ_AS[unit]}" if unit in _READ_AS else None
            return unit, note and f"{note}. Seconds: `--time-unit s`"
    if ((numbers >= 1900) & (numbers <= 2100) & (numbers == np.floor(numbers))).mean() >= _MOST:
        raise DataError(
            f"{where}: the times look like years, such as {example}, which do not order events within a year. Name a "
            "column of dates or times by `--timestamp COLUMN`, or add `--timestamp none`. If they are no years, add "
            "`--time-unit s`."
        )
    if numbers.max() < _1973:
        return "s", (f"timestamp: numbers such as {example} are no dates; they are read as seconds, for their order. "
                     "For days add `--time-unit d`, for hours h; if they give no order, `--timestamp none`")
    return "s", None


class Times:
    """Checks the times of one batch after the other.

    Args:
      accepted: (start, end) in seconds since 1970: the range that is accepted
      notes: list that gets a line for each unit that was detected

    Attributes:
      there: whether the log has times; None before the first batch
    """

    def __init__(self, accepted: tuple[float, float], notes: list[str]) -> None:
        self.there: bool | None = None
        self._unit: str | None = None
        self._notes = notes
        self._start, self._end = accepted
        self._finer, self._too_large, self._none = "", 0, False

    def read(self, checks: Checks, batch: pa.RecordBatch, file: str) -> np.ndarray:
        """int64 [n], seconds since 1970, 0 without a time; a row with a bad time fails its check."""
        there = TIMESTAMP in batch.schema.names
        if self.there not in (None, there):
            raise DataError(f"{file}: {'has' if there else 'has no'} times, unlike what was read before. "
                            "A log has times in all of its parts, or in none.")
        self.there = there
        if not there:
            return np.zeros(len(batch), np.int64)
        raw = batch.column(TIMESTAMP)
        unit = (batch.schema.field(TIMESTAMP).metadata or {}).get(UNIT, b"s").decode()
        unit = self._found_unit(raw, file) if unit == "auto" else unit
        missing = values.missing(raw)
        checks.fail(missing, f"{TIMESTAMP}: missing", raw)
        seconds, ok = values.seconds(raw, unit)
        checks.fail(~ok, f"{TIMESTAMP}: not a time", raw)
        self._none |= bool((~ok & ~missing).any())
        outside = ok & ((seconds < self._start) | (seconds >= self._end))
        checks.fail(outside, f"{TIMESTAMP}: outside of [{self._start}, {self._end}) seconds", raw)
        self._too_large += int((ok & (seconds >= self._end)).sum())
        if outside.any() and not self._finer:
            self._finer = self._finer_unit(values.one(raw).filter(pa.array(outside)))
        return seconds

    def apart(self, notes: list[str]) -> Times:
        """Another, which knows the unit and has counted nothing."""
        other = Times((self._start, self._end), notes)
        other.there, other._unit = self.there, self._unit
        return other

    def take(self, other: Times) -> None:
        """Adds what another has met."""
        self.there = other.there
        self._finer = self._finer or other._finer
        self._too_large += other._too_large
        self._none |= other._none

    def _found_unit(self, raw: pa.Array, file: str) -> str:
        """The unit of numbers, by the first batch that has some."""
        if self._unit is None and len(numbers := numbers_of(raw)):
            self._unit, note = found_unit(numbers, file)
            self._notes += [note] if note else []
        return self._unit or "s"

    def _finer_unit(self, outside: pa.Array) -> str:
        """The unit in which most of the times that are too large would be in range, or ""."""
        for unit in ("ms", "us", "ns"):
            seconds, ok = values.seconds(outside, unit)
            if (ok & (seconds >= self._start) & (seconds < self._end)).mean() > 0.5:
                return unit
        return ""

    def hint(self, rows: int) -> str:
        """Hints about the bad times: sentences with a space after them, or ""."""
        if self._finer and self._too_large > 0.9 * rows:
            unit = self._finer
            return f"The times look like {unit}: add `--time-unit {unit}`, in Python `Columns(time_unit={unit!r})`. "
        if self._finer:
            return f"Some of the times look like {self._finer}, and the others do not: convert them to one unit. "
        return f"A time is {values.TIMES}. " if self._none else ""
