"""An event of a user, as clients and streams send it and as stores keep it."""

import math
import sys
from typing import NamedTuple

from tfrs_twotower import columns as c
from tfrs_twotower.errors import DataError, invalid, nearest
from tfrs_twotower.ids import is_missing_id, missing_id

MAX_ID_BYTES = 512  # of an event's, a user's or an item's id
MAX_TYPE_BYTES = 64
MAX_ANSWER_BYTES = 64
MAX_QUERY_BYTES = 512
MAX_PLACE = 2**31 - 1
MAX_AHEAD_SECONDS = 86_400  # clocks differ by less; milliseconds taken for seconds do not

_REQUIRED = (c.EVENT_ID, c.USER_ID, c.ITEM_ID)
_FIELDS = (*_REQUIRED, c.TIMESTAMP, c.EVENT, c.ANSWER, c.PLACE, c.DWELL, c.VALUE, c.QUERY)
_EXACT = 2**53  # up to here a float is exact
_MOST = 2**63 - 1


class Event(NamedTuple):
    """One event. Ids are text: "42" where a log has the number 42.

    Attributes:
      event_id: unique among the user's events: the same id twice counts once.
      user_id: the user.
      item_id: the item; "" for a search that chose none.
      timestamp: whole seconds since 1970, UTC.
      event: its kind, such as "view", "click", "like", "buy", "search" or "dislike"; "" without kinds.
      answer: the id of the server's answer that the user acted on; "" if there was none.
      place: the item's place in that answer, from 0 on.
      dwell: seconds that the user spent with the item.
      value: an amount, such as the money paid.
      query: the words that the user searched for; "" without a search.
    """

    event_id: str
    user_id: str
    item_id: str
    timestamp: int
    event: str = ""
    answer: str = ""
    place: int | None = None
    dwell: float | None = None
    value: float | None = None
    query: str = ""


def read_event(fields: object, now: float) -> Event:
    """The `Event` of a dict, as it came from JSON or a stream.

    Args:
      fields: `event_id`, `user_id`, `item_id`: text or whole numbers; `timestamp`: a whole number, by default `now`;
        `place`: a whole number of at least 0; `dwell`: a number of at least 0; `value`: a number; `event`, `answer`,
        `query`: text. None means the default. An event with a `query` may lack `item_id`.
      now: seconds since 1970.

    Raises:
      DataError: a name is missing or unknown, or a value is wrong.
    """
    if not isinstance(fields, dict):
        raise DataError(f"An event must be an object with {list(_REQUIRED)}. Received: a {type(fields).__name__}.")
    for name in fields:
        if name not in _FIELDS:
            raise DataError(f"An event has no `{str(name)[:40]}`." + nearest(name, _FIELDS))
    given = {name: value for name, value in fields.items() if value is not None}
    query = _text(c.QUERY, given.get(c.QUERY, ""), MAX_QUERY_BYTES, "text")
    searched = bool(query) and given.get(c.ITEM_ID, "") == ""
    for name in _REQUIRED:
        if name not in fields and not (searched and name == c.ITEM_ID):
            raise DataError(f"An event needs `{name}`. Received: {sorted(map(str, fields))[:10]}.")
    return Event(
        read_id(c.EVENT_ID, fields[c.EVENT_ID]),
        read_id(c.USER_ID, fields[c.USER_ID]),
        "" if searched else read_id(c.ITEM_ID, fields[c.ITEM_ID]),
        _timestamp(given.get(c.TIMESTAMP, int(now)), now),
        _text(c.EVENT, given.get(c.EVENT, ""), MAX_TYPE_BYTES, "text"),
        _text(c.ANSWER, given.get(c.ANSWER, ""), MAX_ANSWER_BYTES, "text"),
        _place(given.get(c.PLACE)),
        _number(c.DWELL, given.get(c.DWELL), 0.0, "be a finite number of seconds of at least 0"),
        _number(c.VALUE, given.get(c.VALUE), -math.inf, "be a finite number"),
        query,
    )


def read_id(name: str, value: object) -> str:
    """An id as text, of text or a whole number. Raises `DataError`, which calls it `name`."""
    value = _whole(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= _MOST:
            way_out = f"{missing_id(int)} means a missing id. Send any other as text."
            raise DataError(invalid(name, f"be between 0 and {_MOST} as a number", value, way_out))
        return str(value)
    text = _text(name, value, MAX_ID_BYTES, "text or a whole number")
    if is_missing_id(text):
        raise DataError(invalid(name, "not be the missing id", text, "Send the id that the log has."))
    return text


def _text(name: str, value: object, most: int, rule: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"`{name}` must be {rule}. Received: a {type(value).__name__}. Convert it.")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise DataError(f"`{name}` must be text that UTF-8 can write. Received: half a surrogate pair.") from error
    if size > most:
        raise DataError(invalid(name, f"have at most {most} bytes", f"{value[:40]}…", "Use a shorter one."))
    return value


def _timestamp(value: object, now: float) -> int:
    value = _whole(value)
    if isinstance(value, bool) or not isinstance(value, int):
        rule = "be whole seconds since 1970, UTC"
        raise DataError(f"`{c.TIMESTAMP}` must {rule}. Received: a {type(value).__name__}. Convert it.")
    if not 0 < value <= now + MAX_AHEAD_SECONDS:
        way_out = "Seconds, not milliseconds, are meant."
        raise DataError(invalid(c.TIMESTAMP, "lie after 1970 and not in the future", value, way_out))
    return value


def _place(value: object) -> int | None:
    value = _whole(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_PLACE):
        raise DataError(invalid(c.PLACE, "be a whole number of at least 0", value, "The first item has place 0."))
    return value


def _number(name: str, value: object, least: float, rule: str) -> float | None:
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (abs(value) <= sys.float_info.max and value >= least):  # type: ignore[arg-type, operator]
        raise DataError(invalid(name, rule, value, "Leave it out if it is not known."))
    return float(value)  # type: ignore[arg-type]  # checked


def _whole(value: object) -> object:
    """5 for 5.0, which is how a `google.protobuf.Struct` writes 5."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT else value
