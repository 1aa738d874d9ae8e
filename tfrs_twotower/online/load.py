"""Fills a store from an interaction log."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_twotower import columns as c
from tfrs_twotower import progress
from tfrs_twotower.online.events import MAX_AHEAD_SECONDS, MAX_PLACE, Event
from tfrs_twotower.online.history_store import HistoryStore

if TYPE_CHECKING:
    from tfrs_twotower.data import InteractionLog

_BLOCK = 10_000  # events appended at a time
_USERS, _ALL = 1000, 2**31 - 1  # users whose events are counted at a time, and how many of each


def load_log(store: HistoryStore, log: "InteractionLog", clock: Callable[[], float] = time.time) -> int:
    """Appends the events of an `InteractionLog` to a `HistoryStore`, in time order.

    The context columns `event`, `answer`, `place`, `dwell`, `value` and `query` become the fields of these names.
    An event's id is the log's context column `event_id`. Without that column it is made of time, item, and a count of
    equal events of the user, so that loading a log twice adds nothing. But an event that the store also got under
    another id is then there twice. An event that lies more than a day ahead of the `clock` is left out, as a server
    refuses it too: it would be the user's newest one for ever.

    Returns:
      The number of new events. The store's `Retention` may have removed some of them again: see `count_kept`.

    Raises:
      StoreError: the store fails. Appended events stay; load again.
    """
    latest, repeats, added = clock() + MAX_AHEAD_SECONDS, _repeats(log), 0
    with progress.bar("Loading events", len(log), "events") as advance:
        for start in range(0, len(log), _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, len(log)))
            added += store.append(_events(log, rows[(log.timestamp[rows] <= latest) & ~log.again[rows]], repeats))
            advance(len(rows))
    return added


def is_loaded(store: HistoryStore, log: "InteractionLog", clock: Callable[[], float] = time.time) -> bool:
    """Has `load_log` put this log into the store, to its end? The log's last event says so, as it is appended last.

    False also where the store has removed that event again.

    Raises:
      StoreError: the store fails.
    """
    past = np.flatnonzero((log.timestamp <= clock() + MAX_AHEAD_SECONDS) & ~log.again)
    if not len(past):
        return False
    (last,) = _events(log, past[-1:], _repeats(log))
    return any(event.event_id == last.event_id for event in store.last([last.user_id], _ALL)[0])


def count_kept(store: HistoryStore, log: "InteractionLog") -> int:
    """The number of events of a log that the store returns: those of `load_log` that its `Retention` keeps.

    Raises:
      StoreError: the store fails.
    """
    order, repeats, kept = np.argsort(log.user, kind="stable"), _repeats(log), 0
    counts = np.bincount(log.user, minlength=log.users.num_rows)
    ends = np.concatenate([[0], np.cumsum(counts)])
    with progress.bar("Counting what the store keeps", len(counts), "users") as advance:
        for start in range(0, len(counts), _USERS):
            users = range(start, min(start + _USERS, len(counts)))
            names = [str(user) for user in log.users[c.USER_ID].slice(start, _USERS).to_pylist()]
            loaded = {(e.user_id, e.event_id) for e in _events(log, order[ends[start]:ends[users.stop]], repeats)}
            for user, events in zip(names, store.last(names, _ALL)):
                kept += len(loaded.intersection((user, event.event_id) for event in events))
            advance(len(users))
    return kept


def _events(log: "InteractionLog", rows: np.ndarray, repeats: np.ndarray) -> list[Event]:
    """The events of some log rows."""
    columns = zip(
        _texts(log, c.EVENT_ID, rows), log.users[c.USER_ID].take(log.user[rows]).to_pylist(),
        log.items[c.ITEM_ID].take(log.item[rows]).to_pylist(), log.timestamp[rows].tolist(),
        _texts(log, c.EVENT, rows), _texts(log, c.ANSWER, rows), _numbers(log, c.PLACE, rows, int, 0, MAX_PLACE),
        _numbers(log, c.DWELL, rows, float, 0), _numbers(log, c.VALUE, rows, float, -math.inf),
        _texts(log, c.QUERY, rows), repeats[rows].tolist(),
    )
    return [
        Event(event_id or f"log:{when}:{item}:{repeat}", str(user), str(item), when, *more)
        for event_id, user, item, when, *more, repeat in columns
    ]


def _texts(log: "InteractionLog", name: str, rows: np.ndarray) -> list[str]:
    return ["" if value is None else str(value) for value in _column(log, name, rows)]


def _numbers(
    log: "InteractionLog", name: str, rows: np.ndarray, kind: type[int] | type[float], least: float,
    most: float = math.inf,
) -> list[int | float | None]:
    """Numbers as an event may have them; None for any other value: a source may mean something else by the name."""
    return [
        kind(value) if isinstance(value, (int, float)) and math.isfinite(value) and least <= value <= most else None
        for value in _column(log, name, rows)
    ]


def _column(log: "InteractionLog", name: str, rows: np.ndarray) -> list[Any]:
    return log.context[name].take(rows).to_pylist() if name in log.context.column_names else [None] * len(rows)


def _repeats(log: "InteractionLog") -> np.ndarray:
    """int64 [n]: the number of equal events (user, item, time) before each event of the log."""
    order = np.lexsort((log.item, log.user, log.timestamp))  # stable
    first = np.ones(len(log), bool)
    for key in (log.timestamp[order], log.user[order], log.item[order]):
        first[1:] &= key[1:] == key[:-1]
    first[1:] = ~first[1:]
    starts = np.flatnonzero(first)
    counts = np.empty(len(log), np.int64)
    counts[order] = np.arange(len(log)) - np.repeat(starts, np.diff([*starts, len(log)]))
    return counts
