"""The thread that keeps items up to date by the events of a store: their statistics, and vectors of new ones."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from tfrs_twotower import columns as c
from tfrs_twotower.data.statistics import SHOWN
from tfrs_twotower.data.unchosen import DROPPED
from tfrs_twotower.freshness.items import FreshItems
from tfrs_twotower.online import Event, HistoryStore, Stores
from tfrs_twotower.online.feedback import WITHIN, feedback

_BLOCK = 86_400  # seconds of events and answers that are joined at a time
_log = logging.getLogger(__name__)


class Refresher:
    """Updates the statistics of items at each full hour, and those of a new version when it is loaded.

    Every minute it moves the vectors of new items by their first events, if a version learned how (`FirstEvents`).

    It reads the events from the store. So events of all processes count, also those from before a restart. Events that
    arrive up to `FreshItems.LATE` seconds late still count. While the store fails, it tries again.

    With logs of answers it counts what a training on the same store and logs has (`feedback`): what was shown and not
    chosen has the kind "shown", from the moment on at which it is known, `within` after the answer.

    Args:
      items: a `FreshItems`.
      history: a `HistoryStore`.
      logs: folders of answer logs.
      stores: the `online.Stores` of the history, for the features of users; None: first events move no item.
      within: seconds after an answer in which an event counts as its choice, as in the training's source.
      seconds: between two looks at the clock.
      clock: a function that returns the seconds since 1970.
    """

    def __init__(
        self, items: FreshItems, history: HistoryStore, logs: Sequence[str] = (), seconds: float = 10.0,
        clock: Callable[[], float] = time.time, stores: Stores | None = None, within: int = WITHIN,
    ) -> None:
        self._within = within
        self._items, self._history, self._logs, self._seconds, self._clock = items, history, logs, seconds, clock
        self._stores, self._stop = stores, threading.Event()
        self._thread = threading.Thread(target=self._run, name="statistics", daemon=True)
        self._thread.start()

    def look(self) -> int:
        """Refreshes the statistics if an hour or a version is new, and adapts new items.

        Returns the number of vectors that changed.

        Raises:
          StoreError: the store or a log cannot be read.
        """
        now, changed = self._clock(), 0
        since = self._items.counted_until(now)
        if since is not None:
            for events in self._events(since, int(now) + 1):
                self._items.count(events)
            changed = self._items.refresh(now)
        return changed + (self._items.adapt(self._stores, now) if self._stores else 0)

    def _events(self, since: int, until: int) -> Iterator[list[Event]]:
        if not self._logs:
            yield from self._history.events(since, until)
            return
        for begin in range(since, until, _BLOCK):
            for table in feedback(self._history, self._logs, begin, min(begin + _BLOCK, until), self._within):
                yield _counted(table)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                if changed := self.look():
                    _log.info("Statistics and first events of items: %d vectors changed", changed)
            except Exception:  # requests are answered meanwhile, by the statistics of before
                _log.exception("The statistics of items are not up to date")

    def close(self) -> None:
        """Ends the thread, after a look that is under way."""
        self._stop.set()
        self._thread.join()


def _counted(table: pa.Table) -> list[Event]:
    """Rows of `feedback` as events: those with the label 0, which a log has as `shown`, are of the kind `SHOWN`, or of
    the kind `DROPPED`."""
    names = (c.EVENT_ID, c.USER_ID, c.ITEM_ID, c.TIMESTAMP, c.EVENT, c.LABEL)
    rows = zip(*(table[name].to_pylist() for name in names))
    return [Event(event, user, item, at, kind if label or kind == DROPPED else SHOWN)
            for event, user, item, at, kind, label in rows]
