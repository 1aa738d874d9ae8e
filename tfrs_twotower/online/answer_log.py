"""What a server answered, and what of it was seen: kept on disk, by the hour in Parquet."""

import json
import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

from tfrs_twotower import columns as c
from tfrs_twotower.errors import DataError, invalid
from tfrs_twotower.online.answer_files import ANSWERS, SEEN, Kind
from tfrs_twotower.online.events import MAX_AHEAD_SECONDS
from tfrs_twotower.online.row_log import RowLog

ANSWER_ID = re.compile("[0-9a-f]{32}")


class Answer(NamedTuple):
    """An answer to one user.

    Attributes:
      answer_id: see `new_answer_id`.
      user_id: the user; "" if unknown.
      timestamp: whole seconds since 1970, UTC.
      version: of the model.
      arm: of the experiment; "" without one.
      context: what the request asked for besides the features, such as `k` and its rules; JSON-able.
      features: {name: value} of the query, as the tower read them; JSON-able.
      items: (item id as text, the channel that proposed it, score), from the first place on.
    """

    answer_id: str
    user_id: str
    timestamp: int
    version: int
    arm: str
    context: dict[str, Any]
    features: dict[str, Any]
    items: list[tuple[str, str, float]]


class Impression(NamedTuple):
    """What a client says of an answer.

    Attributes:
      seen_id: unique.
      answer_id: of the answer.
      timestamp: whole seconds since 1970, UTC.
      places: the 0-based places that the user saw.
      dropped: the places that a later stage, such as a ranker, left out.
    """

    seen_id: str
    answer_id: str
    timestamp: int
    places: list[int]
    dropped: list[int]


def new_answer_id(now: float) -> str:
    """An id of 32 hex digits: the milliseconds since 1970, so that ids sort by time, and 80 random bits."""
    return f"{int(now * 1000) & (1 << 48) - 1:012x}{secrets.token_hex(10)}"


def answer_time(answer_id: str) -> int:
    """The seconds since 1970 of an id that `new_answer_id` made; 0 for any other."""
    return int(answer_id[:12], 16) // 1000 if ANSWER_ID.fullmatch(answer_id) else 0


def read_impression(fields: object, now: float, most: int) -> Impression:
    """The `Impression` of a dict, as it came from JSON. `feedback` finds out whether such an answer was given.

    Args:
      fields: `answer_id`; `places` and `dropped`: lists of 0-based places, at least one of the two. A place is in
        one of them; named twice there, it counts once. `timestamp`: whole seconds since 1970, by default `now`; a
        time before the answer's is the answer's.
      now: seconds since 1970.
      most: the number of places of an answer at most.

    Raises:
      DataError: a name is missing or unknown, or a value is wrong.
    """
    known = ("answer_id", "places", "dropped", c.TIMESTAMP)
    if not isinstance(fields, dict) or not {"answer_id"} < set(fields) <= set(known):
        received = [str(name)[:40] for name in fields][:10] if isinstance(fields, dict) else type(fields).__name__
        raise DataError(f"An impression must be an object with `answer_id`, `places` or `dropped`, and `{c.TIMESTAMP}` "
                        f"if it was not now. Received: {received}.")
    answer = fields["answer_id"]
    if not isinstance(answer, str) or not 0 < (given := answer_time(answer)) <= now + MAX_AHEAD_SECONDS:
        raise DataError(invalid("answer_id", "be the id of an answer", answer, "Copy it from the answer."))
    at = _whole(fields.get(c.TIMESTAMP, int(now)))
    if at is None or not 0 < at <= now + MAX_AHEAD_SECONDS:
        raise DataError(invalid(c.TIMESTAMP, "be whole seconds since 1970, and not in the future",
                                fields[c.TIMESTAMP], "Seconds, not milliseconds, are meant."))
    places, dropped = (_places(name, fields.get(name, []), most) for name in ("places", "dropped"))
    if both := sorted({*places} & {*dropped}):
        way_out = "A place that was left out was not seen: name it once."
        raise DataError(invalid("dropped", "have no place that `places` has", both, way_out))
    return Impression(new_answer_id(now), answer, max(at, given), places, dropped)


def _places(name: str, values: object, most: int) -> list[int]:
    places = [_whole(value) for value in values] if isinstance(values, list) and len(values) <= most else [None]
    found = [place for place in places if place is not None and 0 <= place < most]
    if len(found) < len(places):
        raise DataError(invalid(name, f"be a list of whole numbers from 0 to {most - 1}", values,
                                "The first item of an answer has place 0."))
    return list(dict.fromkeys(found))


def _whole(value: Any) -> int | None:
    """An int, or a float that is whole, as JSON over gRPC has them; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        return None
    return int(value)


class AnswerLog(RowLog):
    """Keeps answers and impressions, see `RowLog`: in `answers/HOUR-….parquet` and `seen/HOUR-….parquet`.

    Args:
      folder: it is made if it is missing.
      wait: True: `record` returns when the rows are on disk. False: it returns at once, and a process that dies loses
        the rows of its last moments.
      clock: seconds since 1970.

    Raises:
      StoreError: another process has the folder, or it cannot be opened.
    """

    kinds: ClassVar[tuple[Kind, ...]] = (ANSWERS, SEEN)
    option: ClassVar[str] = "--log-requests"

    def __init__(
        self, folder: str | os.PathLike[str], wait: bool = True, clock: Callable[[], float] = time.time
    ) -> None:
        self._wait = wait
        super().__init__(folder, clock)

    def record(self, answers: Sequence[Answer]) -> None:
        """Keeps answers. Raises `StoreError` if the disk fails, or if too much waits for it."""
        rows = [(*answer[:5], json.dumps(answer.context), json.dumps(answer.features),
                 *([item[part] for item in answer.items] for part in range(3))) for answer in answers]
        self._put(ANSWERS, rows, self._wait)

    def saw(self, impressions: Sequence[Impression]) -> None:
        """Keeps impressions: they are on disk when it returns. Raises `StoreError`."""
        self._put(SEEN, impressions, True)
