"""Fills a store from an interaction log."""

from typing import TYPE_CHECKING

import numpy as np

from tfrs_twotower import columns as c
from tfrs_twotower.online.events import Event
from tfrs_twotower.online.history_store import HistoryStore

if TYPE_CHECKING:
    from tfrs_twotower.data import InteractionLog

_BLOCK = 10_000  # events appended at a time


def load_log(store: HistoryStore, log: "InteractionLog") -> int:
    """Appends the events of an `InteractionLog` to a `HistoryStore`, in time order.

    An event's id is the log's context column `event_id`. Without that column it is made of time, item, and a count of
    equal events of the user, so that loading a log twice adds nothing. But an event that the store also got under
    another id is then there twice.

    Returns:
      The number of new events.

    Raises:
      StoreError: the store fails. Appended events stay; load again.
    """
    users, items = log.users[c.USER_ID].to_pylist(), log.items[c.ITEM_ID].to_pylist()
    repeats = _repeats(log)
    added = 0
    for start in range(0, len(log), _BLOCK):
        part = slice(start, start + _BLOCK)
        rows = zip(
            _column(log, c.EVENT_ID, part), log.user[part].tolist(), log.item[part].tolist(),
            log.timestamp[part].tolist(), _column(log, c.EVENT, part), repeats[part].tolist(),
        )
        added += store.append([
            Event(event_id or f"log:{when}:{items[item]}:{repeat}", str(users[user]), str(items[item]), when, kind)
            for event_id, user, item, when, kind, repeat in rows
        ])
    return added


def _column(log: "InteractionLog", name: str, part: slice) -> list[str]:
    if name not in log.context.column_names:
        return [""] * len(log.timestamp[part])
    return ["" if v is None else str(v) for v in log.context[name].slice(part.start, _BLOCK).to_pylist()]


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
