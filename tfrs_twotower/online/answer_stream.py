"""Answers and impressions of a stream, as `KafkaAnswers` sends them, into an `AnswerLog`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tfrs_twotower.errors import DataError, invalid
from tfrs_twotower.online.answer_log import ANSWER_ID, Answer, AnswerLog, Impression
from tfrs_twotower.online.stream_consumer import Entry, Keep

_Row = TypeVar("_Row", Answer, Impression)
_PART = 50  # messages kept at a time: as many of the largest, a megabyte, are not too many for an `AnswerLog`
_64_BITS = range(-2**63, 2**63)
_SECONDS = range(253_402_300_800)  # from 1970 to the year 9999: names of files have four digits for it


def answers_into(log: AnswerLog) -> Keep:
    """A `Keep` of answers."""
    return _into(_answer, log.record)


def impressions_into(log: AnswerLog) -> Keep:
    """A `Keep` of impressions."""
    return _into(_impression, log.saw)


def _into(read: Callable[[Mapping[str, Any]], _Row], record: Callable[[list[_Row]], None]) -> Keep:
    def keep(entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
        rows, rejected = list[_Row](), []
        for entry in entries:
            try:
                if entry.reason:
                    raise DataError(entry.reason)
                rows.append(read(entry.fields))
            except DataError as error:
                rejected.append((entry, str(error)))
        for start in range(0, len(rows), _PART):
            record(rows[start:start + _PART])
        return rejected

    return keep


def _answer(fields: Mapping[str, Any]) -> Answer:
    good = {"answer_id": _is_id, "user_id": _is_text, "timestamp": _is_time, "version": _is_whole, "arm": _is_text,
            "context": _is_object, "features": _is_object, "items": _are_items}
    return _checked(Answer, good, fields)


def _impression(fields: Mapping[str, Any]) -> Impression:
    good = {"seen_id": _is_id, "answer_id": _is_id, "timestamp": _is_time, "places": _are_places,
            "dropped": _are_places}
    return _checked(Impression, good, fields)


def _checked(kind: type[_Row], good: Mapping[str, Callable[[Any], bool]], fields: Mapping[str, Any]) -> _Row:
    for name, is_good in good.items():
        if name not in fields or not is_good(fields[name]):
            rule = f"be as a server with --log-requests kafka://… sends it, for {kind.__name__}.{name}"
            raise DataError(invalid(name, rule, str(fields.get(name))[:80], "Let servers alone write to this topic."))
    return kind(**{name: fields[name] for name in good})


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and ANSWER_ID.fullmatch(value) is not None


def _is_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(value.encode() or True)
    except UnicodeEncodeError:  # half a surrogate pair, which no file takes
        return False


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in _64_BITS


def _is_time(value: Any) -> bool:
    return _is_whole(value) and value in _SECONDS


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _are_places(value: Any) -> bool:
    return isinstance(value, list) and all(_is_whole(place) and 0 <= place < 2**31 for place in value)


def _are_items(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, list) and len(item) == 3 and _is_text(item[0]) and _is_text(item[1])
        and isinstance(item[2], float) for item in value  # a whole number may be none of float32, and no reader gets it
    )
