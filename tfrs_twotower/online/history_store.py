"""Stores of events, so that a request finds its user's latest events."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Protocol

from tfrs_twotower.configuration import config
from tfrs_twotower.online.events import Event
from tfrs_twotower.ranges import Count

_DAY = 86_400
_log = logging.getLogger(__name__)


@config
class Retention:
    """The events that a store keeps of each user.

    The newest `events` of all kinds; and of the older ones, of each kind in `kinds` the newest `events`. So a history
    of up to `events` events, of all kinds or of some in `kinds`, is that of the whole past, as a training reads it.

    Attributes:
      events: the number of newest events.
      kinds: the kinds whose older events stay, such as "buy" beside many views.
      seconds: the largest age of an event; None: no limit. An event past it is not shown. `trim` removes it, unless
        the clock disagrees with the events; see `removed_before`.
    """

    events: Count = 1000
    seconds: Count | None = None
    kinds: tuple[str, ...] = ()

    @property
    def most(self) -> int:
        """The largest number of events that a user can have."""
        return self.events * (1 + len(self.kinds))

    def oldest(self, now: float) -> int:
        """The earliest time, in seconds since 1970, that is still kept."""
        return 0 if self.seconds is None else int(now) - self.seconds

    def removed_before(self, now: float, count: Callable[[int], tuple[int, int]]) -> int:
        """The time before which `trim` removes events, in seconds since 1970; 0: none is removed for its age.

        To a clock that jumped forward all events look old. So events vouch for the clock: more than one of them, and
        more than 1% of all, must be of the last tenth of `seconds`, and at least of the last day, before `now`. If
        fewer than these have a wrong time, no event is removed that is younger than nine tenths of `seconds`, or than
        `seconds` less a day, however wrong the clock is.

        Args:
          now: the clock, in seconds since 1970.
          count: time → (the number of events of the store from that time on, the number of all its events).
        """
        if self.seconds is None:
            return 0
        since = int(now) - max(_DAY, self.seconds // 10)
        recent, total = count(since)
        if recent > max(1, total // 100):
            return self.oldest(now)
        if total:
            _log.warning(
                "No event is removed for its age: only %d of %d are from %d (seconds since 1970) or later, so the "
                "clock may have jumped forward. If it is right, new events will end this.", recent, total, since,
            )
        return 0


class HistoryStore(Protocol):
    """Events by user, in the order of their times; of equal times, in the order of arrival.

    Events beyond the `Retention` are never returned. The user's next event removes those beyond its numbers.
    `trim` removes these and, by `Retention.removed_before`, those that are too old.
    Threads and processes may share one. Every method may raise `StoreError`.
    """

    def append(self, events: Sequence[Event]) -> int:
        """Keeps the events; they are on disk when it returns. Returns the number of new ones.

        An event whose id is already in its user's history changes nothing. So a call that failed, or whose answer was
        lost, can be repeated.
        """

    def last(self, user_ids: Sequence[str], n: int, types: Collection[str] = ()) -> list[list[Event]]:
        """The newest n events of each user, oldest first; `types`: only events of these types, () for all."""

    def items(self, user_ids: Sequence[str]) -> list[dict[str, str]]:
        """{item id: the kind of its newest event} of all events of each user, the newest first. A request that leaves
        out seen items waits for it: it reads no other part of the events."""

    def events(self, since: int, until: int) -> Iterator[list[Event]]:
        """All kept events with since ≤ timestamp < until (seconds since 1970), some at a time, of SQLite by arrival.

        An event that is appended meanwhile may be missing. One of Redis may come twice.
        """

    def trim(self) -> int:
        """Removes events beyond the `Retention` for all users. Returns the number of removed events."""

    def close(self) -> None:
        """Closes files and connections."""


def kinds_of_items(newest_first: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What `HistoryStore.items` has of a user; argument: the item and the kind of each event, the newest first."""
    found: dict[str, str] = {}
    for item, kind in newest_first:
        if item:
            found.setdefault(item, kind)
    return found


class HistoryAround:
    """Base of a `HistoryStore` around another one: its methods are those of the other.

    Args:
      history: the `HistoryStore`.
    """

    def __init__(self, history: HistoryStore) -> None:
        self._history = history

    def append(self, events: Sequence[Event]) -> int:
        """See `HistoryStore`."""
        return self._history.append(events)

    def last(self, user_ids: Sequence[str], n: int, types: Collection[str] = ()) -> list[list[Event]]:
        """See `HistoryStore`."""
        return self._history.last(user_ids, n, types)

    def items(self, user_ids: Sequence[str]) -> list[dict[str, str]]:
        """See `HistoryStore`."""
        return self._history.items(user_ids)

    def events(self, since: int, until: int) -> Iterator[list[Event]]:
        """See `HistoryStore`."""
        return self._history.events(since, until)

    def trim(self) -> int:
        """See `HistoryStore`."""
        return self._history.trim()

    def close(self) -> None:
        """See `HistoryStore`."""
        self._history.close()
