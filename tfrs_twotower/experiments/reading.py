"""What each user of an experiment was shown and did."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.online import Event, Stores, read_answers, read_seen
from tfrs_twotower.online.answer_files import HOUR, starts
from tfrs_twotower.online.feedback import WITHIN
from tfrs_twotower.online.said import said_of

if TYPE_CHECKING:
    import pandas as pd

_DAY = 86_400
_USERS = 1000  # asked of the store at a time


@dataclass(frozen=True)
class Participants:
    """The users of an experiment, n of them: the unit that was assigned to an arm.

    Attributes:
      arm: [n] names.
      answers: [n] int64: answers that the user got.
      events: [n] int64: events of the metric that came from these answers.
      before: [n] int64: events of the metric in the days before the user's first answer of an arm, also if this answer
        was before `since`.
      moved: the number of users with answers of several arms, who are left out.
      inside: the number of users who had answers of arms before `since`; 0 if `before` is not asked for.
      cut: the number of users whose earlier events may be missing: they have as many as the store keeps.
    """

    arm: np.ndarray
    answers: np.ndarray
    events: np.ndarray
    before: np.ndarray
    moved: int = 0
    cut: int = 0
    inside: int = 0


def read_participants(
    folder: str | os.PathLike[str], stores: Stores, metric: str, since: int | None = None, until: int | None = None,
    within: int = WITHIN, days: float | None = None, before_days: float = 0.0,
) -> Participants:
    """Counts the answers of a log and the events of a store by user.

    An event counts if its `answer` is an answer to the same user. If it names none, it counts if its item was in an
    answer to the user less than `within` seconds before it, and no later stage left it out. Answers to users without
    an id, without an arm or of a shadow do not count.

    Args:
      folder: of an `AnswerLog`, or of several servers' logs.
      stores: with the events. Those that its `Retention` removed are missing.
      metric: the kind of event, such as "click".
      since, until: answers with since ≤ timestamp < until, in seconds since 1970; None: no limit. Events past `until`
        do not count either.
      within: seconds, as in `collect`.
      days: None counts everything. A number counts each user's first days after the first answer, and only users whose
        days are over by `until`, or else by the last answer of the log.
      before_days: the length of the time that `before` counts.
    """
    table = _of_arms(folder, since, until)
    end = until if until is not None else int(pc.max(table[c.TIMESTAMP]).as_py() or 0) if days else 2**62
    users = _users(table)
    moved = int((users["arms"] > 1).sum())
    users = users[users["arms"] == 1]
    if days is not None:
        users = users[users["first"] + days * _DAY <= end]
    counted = _Counted(table, read_seen(folder, since, None if until is None else until + within), metric, within)
    names, first = users.index.tolist(), users["first"].tolist()
    known = _first_answers(folder, since) if before_days and since is not None else {}
    answers, events, before, cut = [], [], [], 0
    for start in range(0, len(names), _USERS):
        part = names[start:start + _USERS]
        for user, at, past in zip(part, first[start:], stores.history.last(part, stores.retention.events)):
            last = end if days is None else min(end, int(at + days * _DAY))
            cut += len(past) >= stores.retention.events
            answers.append(counted.answers(user, last))
            events.append(counted.events(user, past, last))
            begin = known.get(user, at)
            before.append(sum(e.event == metric and begin - before_days * _DAY <= e.timestamp < begin for e in past))
    counts = [np.asarray(values, np.int64) for values in (answers, events, before)]
    inside = len(known.keys() & {*names})
    return Participants(users["arm"].to_numpy(object), counts[0], counts[1], counts[2], moved, cut, inside)


def _of_arms(folder: str | os.PathLike[str], since: int | None, until: int | None) -> pa.Table:
    """The answers of arms to known users, as `read_answers` gives them."""
    table = read_answers(folder, since, until, shadows=False)
    return table.filter(pc.and_(pc.not_equal(table["arm"], ""), pc.not_equal(table[c.USER_ID], "")))


def _users(table: pa.Table) -> "pd.DataFrame":
    """By user: `arms`, the number of arms; `arm`, the first one; `first`, the time of the first answer."""
    frame = table.select([c.USER_ID, "arm", c.TIMESTAMP]).to_pandas()
    grouped = frame.groupby(c.USER_ID, sort=True)
    found = grouped.agg(arms=("arm", "nunique"), arm=("arm", "first"), first=(c.TIMESTAMP, "min"))
    return found


def _first_answers(folder: str | os.PathLike[str], before: int) -> dict[str, int]:
    """{user: the time of the first answer of an arm before a time}, read by the hour, as all may not fit the memory."""
    found: dict[str, int] = {}
    for hour in starts(folder):
        if hour < before:
            for user, first in _users(_of_arms(folder, hour, min(hour + HOUR, before)))["first"].items():
                found.setdefault(user, first)
    return found


class _Counted:
    """The answers of each user, and which events came from them. seen: result of `read_seen`."""

    def __init__(self, table: pa.Table, seen: pa.Table, metric: str, within: int) -> None:
        self._metric, self._within = metric, within
        users = table[c.USER_ID].to_numpy(zero_copy_only=False)
        self._ids = table["answer_id"].to_pylist()
        self._times = table[c.TIMESTAMP].to_numpy()
        self._items = pc.list_flatten(table[c.ITEM_ID]).to_numpy(zero_copy_only=False)  # answer after answer
        self._items[said_of(table, seen, within).dropped] = None
        self._starts = np.append(0, np.cumsum(pc.list_value_length(table[c.ITEM_ID]).to_numpy()))
        order = np.argsort(users, kind="stable")
        names, starts = np.unique(users[order], return_index=True)
        self._rows = dict(zip(names.tolist(), np.split(order, starts[1:])))

    def answers(self, user: str, until: float) -> int:
        return int((self._times[self._rows[user]] < until).sum())

    def events(self, user: str, past: Sequence[Event], until: float) -> int:
        rows = self._rows[user]
        ids = {self._ids[row] for row in rows}
        return sum(
            event.answer in ids if event.answer else self._shown(rows, event)
            for event in past if event.event == self._metric and event.timestamp < until
        )

    def _shown(self, rows: np.ndarray, event: Event) -> bool:
        ages = event.timestamp - self._times[rows]
        recent = rows[(ages >= 0) & (ages < self._within)]
        return any(event.item_id in self._items[start:end].tolist()
                   for start, end in zip(self._starts[recent], self._starts[recent + 1]))
