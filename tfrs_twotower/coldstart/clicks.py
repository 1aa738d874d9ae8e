"""Events as clicks, from which exploration learns."""

from collections.abc import Collection, Iterator, Sequence

from tfrs_twotower.coldstart.exposures import Exposures
from tfrs_twotower.coldstart.newcomers import ChannelCounts
from tfrs_twotower.online import Event, HistoryStore
from tfrs_twotower.online.feedback import DISLIKE


class ClickedHistory:
    """A `HistoryStore` whose events count as clicks if exploration, or a channel for newcomers, showed the item.

    An append that fails may have kept the events and not the clicks. Send it again, as after any failure: then both are
    there once.

    Args:
      history: the `HistoryStore` that keeps the events.
      exposures: an `Exposures`, or the `ChannelCounts` of newcomers.
      types: the types of events that are clicks; () for all but dislikes.
    """

    def __init__(
        self, history: HistoryStore, exposures: Exposures | ChannelCounts, types: Collection[str] = ()
    ) -> None:
        self._history, self._exposures, self._types = history, exposures, frozenset(types)

    def append(self, events: Sequence[Event]) -> int:
        """See `HistoryStore`."""
        new = self._history.append(events)
        clicks = [(e.user_id, e.item_id) for e in events
                  if (e.event in self._types if self._types else e.event != DISLIKE)]
        if clicks:
            self._exposures.click(clicks)
        return new

    def last(self, user_ids: Sequence[str], n: int, types: Collection[str] = ()) -> list[list[Event]]:
        """See `HistoryStore`."""
        return self._history.last(user_ids, n, types)

    def events(self, since: int, until: int) -> Iterator[list[Event]]:
        """See `HistoryStore`."""
        return self._history.events(since, until)

    def trim(self) -> int:
        """See `HistoryStore`."""
        return self._history.trim()

    def close(self) -> None:
        """Closes the history; the exposures stay open."""
        self._history.close()
