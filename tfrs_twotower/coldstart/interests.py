"""Items that a user picked at sign-up, in place of a history."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tfrs_twotower.online import Event, HistoryAround, HistoryStore, ProfileStore


class InterestHistory(HistoryAround):
    """A `HistoryStore` that returns the picks of users without events, or without events of the asked kinds.

    Picks are a column of the user's profile, a list of item ids. The model reads the first n of them as events without
    an id and a time, of age 0; if it has several histories, in each. After the first event that the model reads they
    are not used any more, in none of its histories. They are not kept as events, so that no training learns from them.

    Args:
      history: the `HistoryStore` of the events.
      profiles: the `ProfileStore` of the picks.
      column: of the profiles. Values that are no lists count as no picks.
      standing: {pick: item ids}, for picks that are not items, as `representatives` gives them for categories. Measure
        it first: on MovieLens, picked films gave better recommendations than the profile alone, and picked genres gave
        worse ones (docs/cold_start.md).
    """

    def __init__(
        self,
        history: HistoryStore,
        profiles: ProfileStore,
        column: str = "interests",
        standing: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(history)
        self._profiles, self._column, self._standing = profiles, column, standing or {}

    def last(self, user_ids: Sequence[str], n: int, types: Collection[str] = ()) -> list[list[Event]]:
        """See `HistoryStore`."""
        found = self._history.last(user_ids, n, types)
        blank = [i for i, events in enumerate(found) if not events]
        for i, items in zip(blank, self._picks([user_ids[i] for i in blank])):
            found[i] = [Event("", user_ids[i], item, 0) for item in items[:n]]
        return found

    def items(self, user_ids: Sequence[str]) -> list[dict[str, str]]:
        """See `HistoryStore`. Picks are of no kind."""
        found = self._history.items(user_ids)
        blank = [i for i, items in enumerate(found) if not items]
        for i, picks in zip(blank, self._picks([user_ids[i] for i in blank])):
            found[i] = dict.fromkeys(picks, "")
        return found

    def _picks(self, user_ids: list[str]) -> list[list[str]]:
        """The items that stand for the picks of each user."""
        picks = [profile.get(self._column) for profile in self._profiles.get(user_ids)] if user_ids else []
        return [self._items(own if isinstance(own, list) else []) for own in picks]

    def _items(self, picks: list[Any]) -> list[str]:
        items = [item for pick in map(str, picks) for item in self._standing.get(pick, [pick])]
        return list(dict.fromkeys(items))
