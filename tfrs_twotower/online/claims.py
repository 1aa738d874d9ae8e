"""What clients say of answers, and which of it cannot be true."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.online.answer_files import ANSWER_ID, HOUR, SEEN, SEEN_ID, hours, read_seen
from tfrs_twotower.online.answer_log import answer_time

UNKNOWN, FOREIGN = "no log has such an answer", "the answer is another user's"
LATE, OUTSIDE = "not within the time after the answer", "the answer has no such place"
_PLACES = pa.list_(pa.int32())
CLAIMS = pa.schema([
    ("what", pa.string()),  # "impression" or "event"
    ("id", pa.string()),    # `seen_id` or `event_id`
    (c.USER_ID, pa.string()), (ANSWER_ID, pa.string()), (c.TIMESTAMP, pa.int64()), ("place", _PLACES),
    ("dropped", _PLACES), ("reason", pa.string()),
])


class Impressions:
    """The impressions of several logs: one may name an answer of any of them. Ask for the hours in their order.

    Args:
      logs: folders of answer logs.
      within: seconds after an answer in which an impression of it counts.
    """

    def __init__(self, logs: Sequence[str], within: int) -> None:
        self._logs, self._within = logs, within
        self._found: dict[str, str] = {}  # the id of each whose answer was found: what is wrong with it, or ""

    def hours(self, since: int, until: int) -> set[int]:
        """The hours that have impressions of since ≤ timestamp < until."""
        found = {hour for log in self._logs for hour in hours(log, SEEN)}
        return {hour for hour in found if hour + HOUR > since and hour < until}

    def read(self, hour: int) -> pa.Table:
        """The impressions that may name an answer of an hour, as `read_seen` gives them."""
        return pa.concat_tables([SEEN.schema.empty_table(), *(
            read_seen(log, hour, hour + HOUR + self._within) for log in self._logs)])

    def found(self, ids: Iterable[str], late: Iterable[bool], outside: Iterable[bool]) -> None:
        """Notes impressions whose answers are known, and what is wrong with them."""
        for name, too_late, wrong in zip(ids, late, outside):
            self._found[name] = LATE if too_late else OUTSIDE if wrong else ""

    def wrong(self, seen: pa.Table, since: int, until: int) -> pa.Table:
        """Rows of `CLAIMS`: those of `seen`, of since ≤ timestamp < until, that are wrong. Ask after their hour."""
        time = seen[c.TIMESTAMP]
        seen = seen.filter(pc.and_(pc.greater_equal(time, since), pc.less(time, until)))
        of = zip(*(seen[name].to_pylist() for name in (SEEN_ID, ANSWER_ID, c.TIMESTAMP)))
        reason = pa.array([self._reason(*row) for row in of], pa.string())
        columns = {name: seen[name] for name in (ANSWER_ID, c.TIMESTAMP, "place", "dropped")}
        return _claims("impression", seen[SEEN_ID], {**columns, "reason": reason}).filter(pc.not_equal(reason, ""))

    def _reason(self, name: str, answer: str, at: int) -> str:
        given = answer_time(answer)
        missing = LATE if given and not given <= at < given + self._within else UNKNOWN
        return self._found.pop(name, missing)


def wrong_events(events: pd.DataFrame, reason: np.ndarray) -> pa.Table:
    """Rows of `CLAIMS` of events that name a wrong answer; `reason`: text."""
    return _claims("event", events[c.EVENT_ID], {
        c.USER_ID: events[c.USER_ID], ANSWER_ID: events[c.ANSWER], c.TIMESTAMP: events[c.TIMESTAMP], "reason": reason})


def _claims(what: str, ids: Any, columns: Mapping[str, Any]) -> pa.Table:
    columns = {"what": [what] * len(ids), "id": ids, **columns}
    return pa.table([_column(columns.get(field.name), field.type, len(ids)) for field in CLAIMS], CLAIMS)


def _column(values: Any, kind: pa.DataType, length: int) -> Any:
    if values is None:
        return pa.nulls(length, kind)
    return values.cast(kind) if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values, kind)
