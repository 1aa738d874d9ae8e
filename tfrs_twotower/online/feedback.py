"""The events of a store joined with the answers of a server: what was chosen, and what was shown and not chosen."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.data.statistics import SHOWN
from tfrs_twotower.data.unchosen import DROPPED
from tfrs_twotower.online.answer_files import HOUR, read_answers, starts
from tfrs_twotower.online.answer_log import answer_time
from tfrs_twotower.online.claims import FOREIGN, UNKNOWN, Impressions, wrong_events
from tfrs_twotower.online.events import Event
from tfrs_twotower.online.history_store import HistoryStore
from tfrs_twotower.online.said import said_of

DISLIKE = "dislike"
WITHIN = HOUR
FEATURES = "features"
SCHEMA = pa.schema([
    (c.EVENT_ID, pa.string()), (c.USER_ID, pa.string()), (c.ITEM_ID, pa.string()), (c.TIMESTAMP, pa.int64()),
    (c.EVENT, pa.string()), (c.LABEL, pa.int64()), (c.ANSWER, pa.string()), (c.PLACE, pa.int32()),
    (c.DWELL, pa.float64()), (c.VALUE, pa.float64()), (c.QUERY, pa.string()), ("version", pa.int64()),
    ("arm", pa.string()), (FEATURES, pa.string()),
])
_OF_ANSWERS = ("version", "arm", FEATURES)


def feedback(
    history: HistoryStore, logs: Sequence[str], since: int, until: int, within: int = WITHIN, late: int = 0,
    aside: Callable[[pa.Table], None] | None = None,
) -> Iterator[pa.Table]:
    """Rows of `SCHEMA` of the time since ≤ t < until (seconds since 1970), each once; those of an hour's answers first.

    - An event of an item has its own id and time, and the label 1; a dislike has 0. It belongs to the answer that it
      names. If it names none, it belongs to the last one that showed the user the item less than `within` seconds
      before; what a later stage left out was not shown. It has that answer's version, arm and features, and its place
      there. A search without an item has the item "" and belongs to none.
    - An item that was shown and not chosen has the id `shown:ANSWER:PLACE`, the event "shown" and the label 0. Chosen
      is an item with an event, of the user or naming the answer, less than `within` seconds later. Shown are the places
      that clients named as seen in this time; if they named none, those before the last chosen one; if there is none,
      none.
    - An item that a later stage left out has the id `drop:ANSWER:PLACE`, the event "drop" and the label 0.

    The time of the last two kinds is `within` after the answer: nothing may know before that nobody chose the item.
    Answers of shadow arms are left out.

    Clients may say what is not true. An event that names another user's answer, or one that no log has, belongs to
    none. An impression counts for an answer of any of the logs, less than `within` seconds after it, and for the
    places that the answer has.

    Args:
      history: a `HistoryStore`.
      logs: folders of answer logs.
      late: events of so many seconds before `since` are there too, as they may have come late. A reader knows a second
        copy of an event, but none of a row with the label 0, so dislikes of that time are not.
      aside: is called once, before the rows of events, with the rows of `claims.CLAIMS`: what clients said between
        `since` and `until`, and does not count. Without logs it is not called.

    Raises:
      StoreError: the store or a log cannot be read.
    """
    first = since - max(within, late)
    found = _events(history, first, until)
    of_items = found[c.ITEM_ID] != ""
    acts = _Acts(found[of_items].reset_index(drop=True), first, until)
    impressions, of_logs = Impressions(logs, within), {log: set(starts(log)) for log in logs}
    wrong: list[pa.Table] = []
    for hour in sorted(impressions.hours(since, until).union(*of_logs.values())):
        if hour + HOUR + within + late > since and hour < until or hour in acts.hours:
            seen = impressions.read(hour)
            for log in sorted(log for log in logs if hour in of_logs[log]):
                shown = _Shown(log, hour, acts, within, seen, impressions)
                yield shown.unchosen(since - within, until - within)
            wrong.append(impressions.wrong(seen, max(hour, since), min(hour + HOUR, until)))
    if aside is not None and logs:
        aside(pa.concat_tables([*wrong, acts.wrong(since)]))
    yield acts.rows(since, late)
    searches = found[~of_items & (found[c.TIMESTAMP] >= since - late)]
    if len(searches):
        yield _table({c.LABEL: np.ones(len(searches), int), **{name: searches[name] for name in Event._fields}})


def _events(history: HistoryStore, since: int, until: int) -> pd.DataFrame:
    """The events, by time."""
    pages = [pd.DataFrame(page, columns=Event._fields) for page in history.events(since, until)]
    found = pd.concat([pd.DataFrame(columns=Event._fields), *pages]) if pages else pd.DataFrame(columns=Event._fields)
    found = found.drop_duplicates([c.USER_ID, c.EVENT_ID])
    return found.sort_values(c.TIMESTAMP, kind="stable", ignore_index=True)


class _Acts:
    """The events, and the answers that they belong to.

    Events of one user and item are a stretch of `order`, in the order of their times. `moments` is increasing there:
    the number of the pair, then the time.
    """

    def __init__(self, events: pd.DataFrame, since: int, until: int) -> None:
        self.events, self._since, self._span = events, since, until - since + 1
        self._at = np.full(len(events), -1, np.int64)  # the time of the answer that was found by its item
        self._columns = {name: np.full(len(events), None, object) for name in _OF_ANSWERS}
        self._columns |= {name: events[name].to_numpy(object, copy=True) for name in (c.ANSWER, c.PLACE)}
        self.users, self.items = (pd.Index(events[name].unique()) for name in (c.USER_ID, c.ITEM_ID))
        self._pairs, pair = np.unique(self._keys(events[c.USER_ID], events[c.ITEM_ID]), return_inverse=True)
        self._time = events[c.TIMESTAMP].to_numpy(np.int64)
        moments = pair * self._span + self._time - since
        self._order = np.argsort(moments, kind="stable")
        self._moments = moments[self._order]
        self._names = events[c.ANSWER].to_numpy() != ""
        self._reasons = np.where(self._names, UNKNOWN, "").astype(object)  # of not taking the answer that it names
        self.named = np.flatnonzero(self._names)
        self.hours = {answer_time(answer) // HOUR * HOUR for answer in events[c.ANSWER].unique()}

    def _keys(self, users: Iterable[str], items: Iterable[str]) -> np.ndarray:
        user, item = self.users.get_indexer(users), self.items.get_indexer(items)
        return np.where((user < 0) | (item < 0), -1, user * max(len(self.items), 1) + item)

    def between(self, users: np.ndarray, items: np.ndarray, begin: np.ndarray, within: int) -> tuple[np.ndarray, ...]:
        """(first, last): the stretch of `order` with each user's events of an item in [begin, begin + within)."""
        keys = self._keys(users, items)
        at = np.searchsorted(self._pairs, keys)
        there = np.append(self._pairs, -2)[at] == keys
        low, high = (np.searchsorted(self._moments, at * self._span + np.clip(time - self._since, 0, self._span - 1))
                     for time in (begin, begin + within))
        return low, np.where(there, high, low)

    def belong(self, low: np.ndarray, high: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(event, row) of stretches and the rows that they belong to."""
        lengths = high - low
        inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return self._order[np.repeat(low, lengths) + inside], np.repeat(row, lengths)

    def answered(self, event: np.ndarray, answers: pd.DataFrame, place: np.ndarray, direct: bool) -> None:
        """Notes the answers of events: those that they name, if `direct`, or of events that name none."""
        chosen = self._names[event] == direct
        if not direct:  # of several logs, the last answer counts, not that of the last log
            time = answers[c.TIMESTAMP].to_numpy()
            chosen &= time >= self._at[event]
            self._at[event[chosen]] = time[chosen]
        event, place, answers = (values[chosen] for values in (event, place, answers))
        for name in _OF_ANSWERS:
            self._columns[name][event] = answers[name].to_numpy()
        self._columns[c.ANSWER][event] = answers["answer_id"].to_numpy()
        self._columns[c.PLACE][event[place >= 0]] = place[place >= 0]

    def of_user(self, event: np.ndarray, users: np.ndarray) -> np.ndarray:
        """bool: whether the answer of an event, that of a user, may be the event's. That of an unknown user may."""
        own = (users == "") | (users == self.events[c.USER_ID].to_numpy()[event])
        self._reasons[event] = np.where(own, "", FOREIGN)
        return own

    def wrong(self, since: int) -> pa.Table:
        """Rows of `CLAIMS`, of the events from `since` on."""
        wrong = (self._reasons != "") & (self._time >= since)
        return wrong_events(self.events[wrong], self._reasons[wrong])

    def rows(self, since: int, late: int) -> pa.Table:
        """The rows of the events from `since` on, and of those in the `late` seconds before, without dislikes."""
        liked = (self.events[c.EVENT] != DISLIKE).to_numpy(bool)
        columns = {c.LABEL: liked.astype(int), **self._columns}
        table = pa.table([
            pa.array(columns.get(field.name, self.events.get(field.name)), field.type, from_pandas=True)
            for field in SCHEMA
        ], SCHEMA)
        return table.filter(pa.array((self._time >= since) | liked & (self._time >= since - late)))


class _Hour(NamedTuple):
    """The items of an hour's answers, one after another: the row of the answer of each, and its place there."""

    answer: np.ndarray
    place: np.ndarray


class _Shown:
    """The answers of an hour of a log."""

    def __init__(
        self, log: str, hour: int, acts: _Acts, within: int, seen: pa.Table, impressions: Impressions
    ) -> None:
        found = read_answers(log, hour, hour + HOUR, shadows=False)
        self._answers = found.drop_columns([c.ITEM_ID, "channel", "score"]).to_pandas()
        lengths = pc.list_value_length(found[c.ITEM_ID]).to_numpy()
        starts = np.cumsum(lengths) - lengths
        answer = np.repeat(np.arange(len(lengths)), lengths)
        self._of = _Hour(answer, np.arange(len(answer)) - starts[answer])
        self._within = within
        self._items = pc.list_flatten(found[c.ITEM_ID]).to_numpy(zero_copy_only=False)
        self._chosen = np.zeros(len(answer), bool)
        said = said_of(found, seen, within)
        self._seen, self._dropped = said.seen, said.dropped
        impressions.found(said.ids, said.late, said.outside)
        self._match(acts)

    def _match(self, acts: _Acts) -> None:
        time = self._answers[c.TIMESTAMP].to_numpy()[self._of.answer]
        low, high = acts.between(self._answers[c.USER_ID].to_numpy()[self._of.answer], self._items, time, self._within)
        self._chosen |= high > low
        # Answers of a log come in the order of time, so the last one of an event stays.
        event, row = acts.belong(low, np.where(self._dropped, low, high), np.arange(len(time)))
        acts.answered(event, self._answers.iloc[self._of.answer[row]], self._of.place[row], False)
        events = acts.events.iloc[acts.named]
        answer = pd.Index(self._answers["answer_id"]).get_indexer(events[c.ANSWER])
        event, answer = acts.named[answer >= 0], answer[answer >= 0]
        own = acts.of_user(event, self._answers[c.USER_ID].to_numpy()[answer])
        event, answer, item = event[own], answer[own], acts.events[c.ITEM_ID].to_numpy()[event[own]]
        shown = pd.MultiIndex.from_arrays([self._of.answer, self._items])
        once = np.flatnonzero(~shown.duplicated())
        row = np.append(once, -1)[shown[once].get_indexer(pd.MultiIndex.from_arrays([answer, item]))]
        after = acts.events[c.TIMESTAMP].to_numpy(int)[event] - self._answers[c.TIMESTAMP].to_numpy()[answer]
        self._chosen[row[(row >= 0) & (0 <= after) & (after < self._within)]] = True
        place = np.where(row >= 0, np.append(self._of.place, -1)[row], -1)
        acts.answered(event, self._answers.iloc[answer], place, True)

    def unchosen(self, since: int, until: int) -> pa.Table:
        """The rows of what was shown or dropped, and not chosen, of answers with since ≤ time < until."""
        of, answers = self._of, self._answers
        last, named = np.full(len(answers), -1), np.zeros(len(answers), bool)
        chosen = self._chosen & ~self._dropped
        np.maximum.at(last, of.answer[chosen], of.place[chosen])
        named[of.answer[self._seen]] = True
        shown = np.where(named[of.answer], self._seen, of.place < last[of.answer]) & ~self._dropped
        settled = (answers[c.TIMESTAMP] >= since) & (answers[c.TIMESTAMP] < until) & (answers[c.USER_ID] != "")
        rows = np.flatnonzero((shown | self._dropped) & ~self._chosen & settled.to_numpy()[of.answer])
        found = answers.iloc[of.answer[rows]]
        kind = np.where(self._dropped[rows], DROPPED, SHOWN).astype(object)
        columns = {
            c.EVENT_ID: [f"{k}:{a}:{p}" for k, a, p in zip(kind, found["answer_id"], of.place[rows])],
            c.USER_ID: found[c.USER_ID], c.ITEM_ID: self._items[rows],
            c.TIMESTAMP: found[c.TIMESTAMP] + self._within, c.EVENT: kind,
            c.LABEL: np.zeros(len(rows), int), c.ANSWER: found["answer_id"], c.PLACE: of.place[rows],
            **{name: found[name] for name in _OF_ANSWERS},
        }
        return _table(columns)


def _table(columns: Mapping[str, Any]) -> pa.Table:
    """Rows of `SCHEMA`; nothing in the other columns."""
    length = len(columns[c.EVENT_ID])
    return pa.table([
        pa.array(columns[field.name], field.type, from_pandas=True) if field.name in columns
        else _nothing(field, length) for field in SCHEMA
    ], SCHEMA)


def _nothing(field: pa.Field, length: int) -> pa.Array:
    return pa.array([""] * length) if pa.types.is_string(field.type) else pa.nulls(length, field.type)
