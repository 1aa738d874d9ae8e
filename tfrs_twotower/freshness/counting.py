"""Statistics of items while a version serves: the events behind its export, and all that came since."""

import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tfrs_twotower.data.statistics import HOUR, SHOWN, Happenings, Statistic
from tfrs_twotower.exporting import Moving
from tfrs_twotower.ids import as_number
from tfrs_twotower.online import Event
from tfrs_twotower.online.feedback import DISLIKE


class Recent(NamedTuple):
    """Events since an export, by the hour. Arrays have n rows.

    item, kind: int64, places in `items` and `kinds`; user: int64, a hash; time: int64, seconds since 1970.
    """

    item: np.ndarray
    user: np.ndarray
    time: np.ndarray
    kind: np.ndarray
    items: list[str]
    kinds: list[str]


class RecentEvents:
    """Collects events, each once however often it comes. Threads may share one. Memory: 40 bytes an event."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[tuple[int, int, int, int, int]] = []
        self._rows = np.zeros((0, 5), np.int64)  # event, item, user, time, kind
        self._items: dict[str, int] = {}
        self._kinds: dict[str, int] = {}

    def add(self, events: Iterable[Event]) -> None:
        """Takes events. Those without an item do not count."""
        with self._lock:
            for e in events:
                if e.item_id:
                    item = self._items.setdefault(e.item_id, len(self._items))
                    kind = self._kinds.setdefault(e.event, len(self._kinds))
                    self._pending.append((hash((e.user_id, e.event_id)), item, hash(e.user_id), e.timestamp, kind))

    def read(self, after: int = 0) -> Recent:
        """The events after a time, in seconds since 1970. Earlier ones are dropped."""
        with self._lock:
            if self._pending:
                rows = np.concatenate([self._rows, np.array(self._pending, np.int64)])
                self._rows, self._pending = rows[np.unique(rows[:, 0], return_index=True)[1]], []
            self._rows = self._rows[self._rows[:, 3] > after]
            item, user, time, kind = self._rows[:, 1:].T
            return Recent(item, user, time, kind, list(self._items), list(self._kinds))


class VersionStatistics:
    """The statistics of the items of one version at an hour: those of training, counted on.

    Args:
      moving: the `Moving` of the export.
      ids: the ids of the catalogue's rows.

    Attributes:
      hour: since 1970, as of which items are.
      counted_until: seconds since 1970: earlier events have been counted. `until` before the first refresh.
    """

    def __init__(self, moving: Moving, ids: Sequence[str | int]) -> None:
        self._moving, self._code = moving, {item: row for row, item in enumerate(ids)}
        self._ids, self._kind = list(ids), type(ids[0]) if len(ids) else str
        self._first = int(moving.events.hour.max(initial=0)) + 1  # no earlier hour can be asked
        self._users = np.array([hash(user) for user in moving.users], np.int64)
        self.hour, self._statistics = 0, dict[str, Statistic]()
        self.counted_until = self.until
        none = RecentEvents().read()
        self.advance(none, self._first)

    @property
    def columns(self) -> set[str]:
        """The names of the raw inputs that are counted."""
        return {feature.column for feature in self._moving.features}

    @property
    def until(self) -> int:
        """The time of the export's last event, in seconds since 1970. Later events are counted on."""
        return self._moving.until

    def advance(self, recent: Recent, hour: int) -> list[str | int]:
        """Moves to an hour (since 1970): the ids of the items whose statistics differ from those before."""
        before, known = self._values(np.arange(len(self._ids))), len(self._ids)
        events = self._with(recent)
        self.hour = max(hour, self._first)
        self._statistics = {f.column: Statistic.of(f.spec, events) for f in self._moving.features}
        after = self._values(np.arange(len(self._ids)))
        changed = np.zeros(len(self._ids), bool)
        for column, values in after.items():
            old = before.get(column, values[:known])
            changed[:known] |= (values[:known] != old).any(axis=1)
            changed[known:] |= values[known:].any(axis=1)
        return [self._ids[row] for row in np.flatnonzero(changed)]

    def values(self, ids: Sequence[Any]) -> dict[str, list[list[float]]]:
        """{column: the raw value of each item}, zeros of an unknown one."""
        rows = np.array([self._code.get(item, -1) for item in ids], np.int64)
        return {column: values.tolist() for column, values in self._values(rows).items()}

    def features(self, item: str | int) -> dict[str, Any] | None:
        """The exported features of an item; None if the catalogue lacks it."""
        row = self._code.get(item, len(self._ids))
        if row >= self._moving.items.num_rows:
            return None
        return self._moving.items.slice(row, 1).to_pylist()[0]

    def _values(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        hours = np.full(len(rows), self.hour)
        return {column: one.values(rows, hours) for column, one in self._statistics.items()}

    def _with(self, recent: Recent) -> Happenings:
        """The export's events and the later ones, with codes for items that the catalogue lacks."""
        e, later = self._moving.events, recent.time > self._moving.until
        codes = np.array([self._coded(item) for item in recent.items], np.int64)
        item = codes[recent.item[later]] if len(codes) else recent.item[later]
        # Training has a dislike among what was shown, unless its log has it as an event.
        own = [SHOWN if kind == DISLIKE and kind not in e.kinds else kind for kind in recent.kinds]
        kinds = list(dict.fromkeys([*e.kinds, *own]))
        places = {kind: place for place, kind in enumerate(kinds)}
        of_export, of_recent = (np.array([places[k] for k in names], np.int64) for names in (e.kinds, own))
        users = np.concatenate([self._users[e.user], recent.user[later]])
        return Happenings(
            np.concatenate([e.item, item]), pd.factorize(users)[0].astype(np.int64),
            np.concatenate([e.hour, recent.time[later] // HOUR]),
            np.concatenate([of_export[e.kind], of_recent[recent.kind[later]]]),
            np.concatenate([e.number, np.ones(len(item), np.int64)]), tuple(kinds),
        ).take(np.concatenate([e.item, item]) >= 0)

    def _coded(self, item: str) -> int:
        """The code of an item that an event names, as text; −1 if it can be no id of this model."""
        if self._kind is not str:
            try:
                key: str | int = as_number(item)
            except ValueError:
                return -1
        else:
            key = item
        if key not in self._code:
            self._code[key] = len(self._ids)
            self._ids.append(key)
        return self._code[key]
