"""Stores of events, so that a request finds its user's latest events."""

from collections.abc import Collection, Sequence
from typing import Protocol

from tfrs_twotower.configuration import config
from tfrs_twotower.online.events import Event
from tfrs_twotower.ranges import Count


@config
class Retention:
    """The events that a store keeps of each user.

    Attributes:
      events: the number of newest events.
      seconds: the largest age of an event; None: no limit.
    """

    events: Count = 1000
    seconds: Count | None = None

    def oldest(self, now: float) -> int:
        """The earliest time, in seconds since 1970, that is still kept."""
        return 0 if self.seconds is None else int(now) - self.seconds


class HistoryStore(Protocol):
    """Events by user, in the order of their times; of equal times, in the order of arrival.

    Events beyond the `Retention` are never returned. They are removed at the user's next event, or by `trim`.
    Threads and processes may share one. Every method may raise `StoreError`.
    """

    def append(self, events: Sequence[Event]) -> int:
        """Keeps the events; they are on disk when it returns. Returns the number of new ones.

        An event whose id is already in its user's history changes nothing. So a call that failed, or whose answer was
        lost, can be repeated.
        """

    def last(self, user_ids: Sequence[str], n: int, types: Collection[str] = ()) -> list[list[Event]]:
        """The newest n events of each user, oldest first; `types`: only events of these types, () for all."""

    def trim(self) -> int:
        """Removes events beyond the `Retention` for all users. Returns the number of removed events."""

    def close(self) -> None:
        """Closes files and connections."""
