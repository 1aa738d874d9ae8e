"""What happened with items before a moment: counts over windows of whole hours. Pure NumPy.

A moment is an hour, counted from 1970. An event counts from the next hour on, so a statistic at hour m holds the events
of the hours m − w to m − 1. Events of the same hour never see each other, whatever their order. A server that counts by
the hour therefore has the same numbers as training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from tfrs_twotower import columns as c
from tfrs_twotower.data import wide
from tfrs_twotower.data.log import InteractionLog
from tfrs_twotower.data.unchosen import DROPPED

HOUR = 3600  # seconds
SHOWN = "shown"  # the kind of `log.shown`: an item was shown and not chosen
Measure = Literal["count", "users", "rate", "recency"]

_END = np.int64(2**62)  # after all keys
# Of hours since the last event. A value changes at these steps alone, so that few items change in an hour.
_STEPS = np.unique([0, *(whole for k in range(20) for whole in (2**k, 3 * 2**k // 2) if whole)]).astype(np.int64)


class Spec(NamedTuple):
    """A statistic: see `features.ItemStatistic` for the attributes."""

    measure: Measure
    event: str
    per: str
    hours: tuple[int, ...]

    @property
    def width(self) -> int:
        """The number of raw values."""
        return {"recency": 1, "rate": 2 * len(self.hours)}.get(self.measure, len(self.hours))


class Operations(NamedTuple):
    """The array operations of a lookup, so that NumPy and a TensorFlow graph share its formulas."""

    search: Callable[..., Any]  # (ascending, values) → for each value, how many are smaller
    take: Callable[..., Any]
    clip: Callable[..., Any]
    where: Callable[..., Any]
    stack: Callable[..., Any]   # list of m arrays [n] → float32 [n, m]


NUMPY = Operations(
    np.searchsorted, np.take, np.clip, np.where, lambda parts: np.stack(parts, axis=-1).astype(np.float32)
)


class Happenings(NamedTuple):
    """Events by the hour. Every array has n rows.

    item, user: int64, from 0 on; hour: int64; kind: int64, a place in `kinds`; number: int64, events of this row.
    """

    item: np.ndarray
    user: np.ndarray
    hour: np.ndarray
    kind: np.ndarray
    number: np.ndarray
    kinds: tuple[str, ...]

    def of(self, kind: str) -> Happenings:
        """The events of a kind; "" means all that are neither `SHOWN` nor `DROPPED`."""
        names = np.asarray(self.kinds, object)
        return self.take((~np.isin(names, [SHOWN, DROPPED]) if kind == "" else names == kind)[self.kind])

    def take(self, rows: np.ndarray) -> Happenings:
        """Some of the rows."""
        item, user, hour, kind, number = (values[rows] for values in self[:5])
        return Happenings(item, user, hour, kind, number, self.kinds)

    def compact(self, end: int, window: int, users: bool) -> Happenings:
        """Fewer rows, with the same statistics from the hour `end` on.

        Events of one item, kind and hour become one row, and those that left the longest window become one at the hour
        of the last of them.

        Args:
          end: an hour after all events.
          window: hours of the longest window; 0 if there is none besides all time.
          users: whether to keep users apart. If not, all become user 0.
        """
        old = self.hour < end - window
        user = self.user if users else np.zeros_like(self.user)
        rows = np.stack([self.item, self.kind, user, np.where(old, -1, self.hour)])
        found, at = np.unique(rows, axis=1, return_inverse=True)
        hour = np.zeros(found.shape[1], np.int64)
        np.maximum.at(hour, at.ravel(), self.hour)
        count = np.bincount(at.ravel(), self.number, found.shape[1]).astype(np.int64)
        return Happenings(found[0], found[2], hour, found[1], count, self.kinds)


def happenings(log: InteractionLog, visible: np.ndarray | None = None) -> Happenings:
    """The events of a log, what was shown, and what a later stage left out.

    visible: bool [log rows] or None: the events that count.
    """
    rows = np.arange(len(log)) if visible is None else np.flatnonzero(visible)
    kinds, kind = [""], np.zeros(len(rows), np.int64)
    if c.EVENT in log.context.column_names:
        coded = wide.one(log.context[c.EVENT]).dictionary_encode()
        kinds = [*coded.dictionary.to_pylist(), ""]
        kind = coded.indices.fill_null(len(kinds) - 1).to_numpy(zero_copy_only=False).astype(np.int64)[rows]
    shown = log.shown
    item, user, hour, kind = (np.concatenate(pair).astype(np.int64) for pair in (
        (log.item[rows], shown.item), (log.user[rows], shown.user),
        (log.timestamp[rows] // HOUR, shown.timestamp // HOUR),
        (kind, len(kinds) + (np.zeros(len(shown)) if shown.dropped is None else shown.dropped)),
    ))
    return Happenings(item, user, hour, kind, np.ones(len(item), np.int64), (*kinds, SHOWN, DROPPED))


@dataclasses.dataclass(frozen=True)
class _Totals:
    """Events of each entity up to an hour: keys (entity, hour), ascending, and the running total before each."""

    keys: Any    # int64 [n + 1]
    totals: Any  # int64 [n + 1]
    first: int   # hour
    span: int    # hours of an entity among the keys

    @classmethod
    def of(cls, entity: np.ndarray, hour: np.ndarray, count: np.ndarray | None = None) -> _Totals:
        first, last = (int(hour.min()), int(hour.max())) if len(hour) else (0, 0)
        span = last - first + 2
        keys, at = np.unique(entity * span + (hour - first), return_inverse=True)
        per_key = np.bincount(at, None if count is None else count, len(keys)).astype(np.int64)
        return cls(np.append(keys, _END), np.append(0, np.cumsum(per_key)), first, span)

    def places(self, entity: Any, hour: Any, to: Operations) -> Any:
        """The place of the entity's first key from this hour on."""
        return to.search(self.keys, entity * self.span + to.clip(hour - self.first, 0, self.span - 1))

    def between(self, entity: Any, window: int, hour: Any, to: Operations) -> Any:
        """Events of the `window` hours before an hour (0: all hours)."""
        since = to.search(self.keys, entity * self.span) if window == 0 else self.places(entity, hour - window, to)
        return to.take(self.totals, self.places(entity, hour, to)) - to.take(self.totals, since)

    def since_last(self, entity: Any, hour: Any, to: Operations) -> Any:
        """Hours since the last event before an hour; 0 if there is none."""
        place, start = self.places(entity, hour, to), to.search(self.keys, entity * self.span)
        last = to.take(self.keys, to.clip(place - 1, 0, len(self.keys) - 1)) - entity * self.span + self.first
        return to.where(place > start, hour - last, 0 * hour)


@dataclasses.dataclass(frozen=True)
class Statistic:
    """A statistic of items, for any hour. Memory: two numbers for each item and hour with events.

    Attributes:
      spec: its `Spec`.
      tables: of its events, one `_Totals` or more.
    """

    spec: Spec
    tables: tuple[_Totals, ...]

    @classmethod
    def of(cls, spec: Spec, events: Happenings) -> Statistic:
        """Counts the events."""
        own = events.of(spec.event)
        users = spec.measure == "users"
        tables = [_Totals.of(own.item, own.hour, None if users else own.number)]
        if users:
            tables += _ends(own, spec.hours)
        elif spec.measure == "rate":
            per = events.of(spec.per)
            tables.append(_Totals.of(per.item, per.hour, per.number))
        return cls(spec, tuple(tables))

    def converted(self, convert: Callable[[np.ndarray], Any]) -> Statistic:
        """The same with other arrays: `tf.constant`, for a graph."""
        return Statistic(self.spec, tuple(
            dataclasses.replace(t, keys=convert(t.keys), totals=convert(t.totals)) for t in self.tables
        ))

    def values(self, item: Any, hour: Any, to: Operations = NUMPY) -> Any:
        """float32 [n, width]: the raw values of items at hours. All are 0 for an item without earlier events.

        `count` and `users` have a value for each window. `rate` has the events of each window, and then what they are
        a part of. `recency` has the hours since the last event, rounded down to 1, 2, 3, 4, 6, 8, 12, 16, 24, ….

        Args:
          item: int64 [n]; −1 is an unknown item.
          hour: int64 [n].
          to: the operations of the arrays.
        """
        spec, own = self.spec, self.tables[0]
        if spec.measure == "recency":
            steps = to.search(_STEPS, own.since_last(item, hour, to) + 1)
            return to.stack([to.take(_STEPS, steps - 1)])
        counts = [own.between(item, window, hour, to) for window in spec.hours]
        if spec.measure == "users":
            begun = own.between(item, 0, hour, to)  # as many as there were events
            counts = [begun - ended.between(item, 0, hour, to) for ended in self.tables[1:]]
        elif spec.measure == "rate":
            per = [self.tables[1].between(item, window, hour, to) for window in spec.hours]
            counts += [events + other for events, other in zip(counts, per)] if spec.per == SHOWN else per
        return to.stack(counts)


def _ends(events: Happenings, windows: Sequence[int]) -> list[_Totals]:
    """For each window, the hours at which an event stops counting: it left the window, or the user's next one began.

    So distinct users are the events before an hour, less those that ended before it.
    """
    order = np.lexsort((events.hour, events.user, events.item))
    item, user, hour = (values[order] for values in (events.item, events.user, events.hour))
    follows = np.append((item[1:] == item[:-1]) & (user[1:] == user[:-1]), False)[:len(item)]
    later = np.where(follows, np.append(hour[1:], 0)[:len(hour)], _END)
    found = []
    for window in windows:
        end = np.minimum(later, hour + window) if window else later
        ended = end < _END
        found.append(_Totals.of(item[ended], end[ended]))
    return found
