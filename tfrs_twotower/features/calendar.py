"""Local times and holidays as arrays, which a graph can hold: it has no time zones of its own."""

import datetime
import functools
import zoneinfo

import numpy as np

from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.extras import require

_FIRST, _LAST = 1970, 2100  # years
_STEP = 7 * 86_400  # seconds: no zone changes its offset twice in a week


def zone(name: str, argument: str) -> zoneinfo.ZoneInfo:
    """The time zone of an IANA name. Raises `ConfigError`, which names the argument, if there is none."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        way_out = "Use a name such as Europe/Berlin or UTC."
        raise ConfigError(invalid(argument, "be the name of a time zone", name, way_out)) from error


@functools.lru_cache(None)
def offset_changes(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(times, offsets) of a time zone from 1970 to 2100, int64 [n] each: from that time on it is so far ahead of UTC.

    Both are in seconds; the first time is 0.
    """
    where = zone(name, "zone")

    def offset(at: int) -> int:
        moment = datetime.datetime.fromtimestamp(at, where)
        return int(moment.utcoffset().total_seconds())

    end = int(datetime.datetime(_LAST, 1, 1, tzinfo=datetime.timezone.utc).timestamp())
    times, offsets = [0], [offset(0)]
    for step in range(_STEP, end, _STEP):
        if (new := offset(step)) != offsets[-1]:
            before, after = step - _STEP, step
            while after - before > 1:
                middle = (before + after) // 2
                before, after = (before, middle) if offset(middle) == new else (middle, after)
            times.append(after)
            offsets.append(new)
    return np.array(times, np.int64), np.array(offsets, np.int64)


def holiday_days(code: str) -> np.ndarray:
    """int64, ascending: the public holidays of a country or a part of one, in days since 1970, from 1970 to 2100.

    code: a country such as DE, or a part such as US-CA, as the package `holidays` knows it.

    Raises:
      ConfigError: the package does not know the code.
      MissingExtraError: the package is not installed.
    """
    holidays = require("holidays")
    country, _, part = code.partition("-")
    try:
        found = holidays.country_holidays(country, subdiv=part or None, years=range(_FIRST, _LAST))
    except NotImplementedError as error:
        way_out = "Use one such as DE or US-CA."
        raise ConfigError(invalid("Time.holidays", "be a code of the package holidays", code, way_out)) from error
    epoch = datetime.date(1970, 1, 1)
    return np.array(sorted((day - epoch).days for day in found), np.int64)
