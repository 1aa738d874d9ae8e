"""Columns of the events that are not read, though their names say that they tell what an event is worth."""

_OUTCOMES = ("rating", "ratings", "score", "stars", "star_rating", "grade")
_LABELS = ("label", "target", "click", "clicked", "is_click", "is_clicked", "like", "liked", "is_like", "is_liked",
           "converted", "conversion", "is_positive", "watched", "purchased", "bought")
_WEIGHTS = ("count", "counts", "play_count", "playcount", "plays", "listens", "weight", "quantity", "qty", "frequency",
            "times", "amount")
_EVENTS = ("event", "event_type", "action", "action_type", "behavior", "behaviour", "behavior_type", "interaction_type")


def unread_notes(names):
    """A line for each column among those not read that says what an event is worth, with what would read it."""
    for name in names:
        word = name.lower().strip().replace(" ", "_").replace("-", "_")
        for words, found in _FOUND:
            if word in words:
                yield f"`{name}` is not read: " + found.format(name)


_FOUND = (
    (_OUTCOMES, "every event is a like. `--positive \"{0} >= 4\"` (or another bound) makes negatives of the others, "
                "`--weight {0}` lets a high one count more"),
    (_LABELS, "every event is a like. With `--label {0}`, those of 0 or less are negatives of their users"),
    (_WEIGHTS, "every event counts alike. `--weight {0}` weighs by it, `--where \"{0} > 0\"` leaves out what was "
               "taken back"),
    (_EVENTS, "all kinds of events are likes. `--where \"{0} == KIND\"` keeps one kind, `--positive` makes negatives "
              "of the others"),
)
