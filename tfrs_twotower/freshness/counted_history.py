"""Events of users that count for the statistics of items, and the thread that brings these up to date."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

from tfrs_twotower.freshness.items import FreshItems
from tfrs_twotower.online import Event, HistoryStore

_log = logging.getLogger(__name__)


class CountedHistory:
    """A `HistoryStore` whose events also count for the statistics of items.

    An append that fails may have kept the events without counting them. Send it again, as after any failure: then both
    have them once.

    Args:
      history: the `HistoryStore` that keeps the events.
      items: the `FreshItems` that counts them.
    """

    def __init__(self, history: HistoryStore, items: FreshItems) -> None:
        self._history, self._items = history, items

    def append(self, events: Sequence[Event]) -> int:
        """See `HistoryStore`."""
        new = self._history.append(events)
        self._items.count(events)
        return new

    def last(self, user_ids: Sequence[str], n: int, types: Collection[str] = ()) -> list[list[Event]]:
        """See `HistoryStore`."""
        return self._history.last(user_ids, n, types)

    def trim(self) -> int:
        """See `HistoryStore`."""
        return self._history.trim()

    def close(self) -> None:
        """Closes the history; the items stay open."""
        self._history.close()


class Refresher:
    """A thread that calls `FreshItems.refresh` again and again.

    Args:
      items: a `FreshItems`.
      seconds: between two calls.
      clock: a function that returns the seconds since 1970.
    """

    def __init__(self, items: FreshItems, seconds: float = 60.0, clock: Callable[[], float] = time.time) -> None:
        self._items, self._seconds, self._clock = items, seconds, clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="statistics", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                changed = self._items.refresh(self._clock())
            except Exception:  # the next call may succeed, and requests are answered meanwhile
                _log.exception("The statistics of items were not brought up to date")
            else:
                if changed:
                    _log.info("Statistics of items: %d vectors are new", changed)

    def close(self) -> None:
        """Ends the thread, after a call that is under way."""
        self._stop.set()
        self._thread.join()
