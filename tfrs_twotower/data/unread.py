"""Columns of the events that are not read, although their names suggest labels or weights."""

from collections.abc import Iterable, Iterator

_OUTCOMES = ("rating", "ratings", "score", "stars", "star_rating", "grade")
_LABELS = ("label", "target", "click", "clicked", "is_click", "is_clicked", "like", "liked", "is_like", "is_liked",
           "converted", "conversion", "is_positive", "watched", "purchased", "bought")
_WEIGHTS = ("count", "counts", "play_count", "playcount", "plays", "listens", "weight", "quantity", "qty", "frequency",
            "times", "amount")
_EVENTS = ("event", "event_type", "action", "action_type", "behavior", "behaviour", "behavior_type", "interaction_type")


def unread_notes(names: Iterable[str]) -> Iterator[str]:
    """A line for each unread column that may hold a label or weight, with the option that reads it."""
    for name in names:
        word = name.lower().strip().replace(" ", "_").replace("-", "_")
        for words, found in _FOUND:
            if word in words:
                yield f"`{name}` is not read: " + found.format(name)


_FOUND = (
    (_OUTCOMES, "every event is a like. `--positive \"{0} >= 4\"` (or another bound) makes the other events negatives, "
                "`--weight {0}` lets a high one count more"),
    (_LABELS, "every event is a like. `--label {0}` makes events with 0 or less negatives of their users"),
    (_WEIGHTS, "all events have the same weight. `--weight {0}` weights them by it, `--where \"{0} > 0\"` leaves out "
               "returns"),
    (_EVENTS, "all kinds of events are likes. `--where \"{0} == KIND\"` keeps one kind, `--positive \"{0} == KIND\"` "
              "makes the other kinds negatives"),
)
