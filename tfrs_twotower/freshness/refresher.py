"""The thread that keeps the statistics of items up to date, from the events of a store."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, cast

from tfrs_twotower.freshness.items import FreshItems
from tfrs_twotower.online import HistoryStore

_log = logging.getLogger(__name__)


class Refresher:
    """Updates the statistics of items at each full hour, and those of a new version when it is loaded.

    It reads the events from the store. So events of all processes count, also those from before a restart. Events that
    arrive up to `FreshItems.LATE` seconds late still count. While the store fails, it tries again.

    Args:
      items: a `FreshItems`.
      history: a `HistoryStore`.
      seconds: between two looks at the clock.
      clock: a function that returns the seconds since 1970.
    """

    def __init__(
        self, items: FreshItems, history: HistoryStore, seconds: float = 10.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._items, self._history, self._seconds, self._clock = items, history, seconds, clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="statistics", daemon=True)
        self._thread.start()

    def look(self) -> int:
        """Refreshes the statistics if an hour or a version is new. Returns the number of vectors that changed.

        Raises:
          StoreError: the store cannot be read.
        """
        now = self._clock()
        since = self._items.counted_until(now)
        if since is None:
            return 0
        for events in cast(Any, self._history).events(since, int(now) + 1):
            self._items.count(events)
        return self._items.refresh(now)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                if changed := self.look():
                    _log.info("Statistics of items: %d vectors changed", changed)
            except Exception:  # requests are answered meanwhile, by the statistics of before
                _log.exception("The statistics of items are not up to date")

    def close(self) -> None:
        """Ends the thread, after a look that is under way."""
        self._stop.set()
        self._thread.join()
