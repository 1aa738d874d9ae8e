"""Where events are kept so that a request finds what its user did a moment ago."""

from collections.abc import Collection, Sequence
from typing import Protocol

from tfrs_twotower.configuration import config
from tfrs_twotower.online.events import Event
from tfrs_twotower.ranges import Count


@config
class Retention:
    """What a store keeps of each user.

    Attributes:
      events: the newest so many events.
      seconds: events not older than this; None: whatever their age.
    """

    events: Count = 1000
    seconds: Count | None = None

    def oldest(self, now: float) -> int:
        """The earliest time, in seconds since 1970, that is still kept."""
        return 0 if self.seconds is None else int(now) - self.seconds


class HistoryStore(Protocol):
    """Events by user, in the order of their times; of equal times, in the order of arrival.

    What is past its `Retention` is never returned, and is removed when its user's next event comes, or by `trim`.
    Threads and processes may share one. Every method may raise `StoreError`.
    """

    def append(self, events: Sequence[Event]) -> int:
        """Keeps the events; they are on disk when it returns. Returns how many were new.

        An event whose id its user's history holds already changes nothing, so that a call that failed, or whose
        answer was lost, can be made again.
        """

    def last(self, user_ids: Sequence[str], n: int, types: Collection[str] = ()) -> list[list[Event]]:
        """The newest n events of each user, oldest first; `types`: events of these types alone, () for all."""

    def trim(self) -> int:
        """Removes what is past its `Retention` for all users. Returns how many events it removed."""

    def close(self) -> None:
        """Lets go of files and connections."""
