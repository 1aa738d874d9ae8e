"""Events as clicks, from which exploration learns."""

from collections.abc import Collection, Sequence

from tfrs_twotower.coldstart.exposures import Exposures
from tfrs_twotower.coldstart.newcomers import ChannelCounts
from tfrs_twotower.online import Event, HistoryAround, HistoryStore
from tfrs_twotower.online.feedback import DISLIKE


class ClickedHistory(HistoryAround):
    """A `HistoryStore` whose events count as clicks if exploration, or a channel for newcomers, showed the item.

    An append that fails may have kept the events and not the clicks. Send it again, as after any failure: then both are
    there once.

    Args:
      history: the `HistoryStore` that keeps the events.
      exposures: an `Exposures`, or the `ChannelCounts` of newcomers. `close` leaves it open.
      types: the types of events that are clicks; () for all but dislikes.
    """

    def __init__(
        self, history: HistoryStore, exposures: Exposures | ChannelCounts, types: Collection[str] = ()
    ) -> None:
        super().__init__(history)
        self._exposures, self._types = exposures, frozenset(types)

    def append(self, events: Sequence[Event]) -> int:
        """See `HistoryStore`."""
        new = self._history.append(events)
        clicks = [(e.user_id, e.item_id) for e in events
                  if (e.event in self._types if self._types else e.event != DISLIKE)]
        if clicks:
            self._exposures.click(clicks)
        return new
