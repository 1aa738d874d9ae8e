"""Notes of `ingest` on columns: those that leak the target, and unread ones that may hold labels or weights.

A column leaks if it has statistics of the whole log, or values that give the item away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

from tfrs_twotower.columns import ITEM_ID, OF_EVENTS, USER_ID
from tfrs_twotower.data import values, wide
from tfrs_twotower.data.log import InteractionLog

_OUTCOMES = ("rating", "ratings", "score", "stars", "star_rating", "grade")
_LABELS = ("label", "target", "click", "clicked", "is_click", "is_clicked", "like", "liked", "is_like", "is_liked",
           "converted", "conversion", "is_positive", "watched", "purchased", "bought")
_WEIGHTS = ("count", "counts", "play_count", "playcount", "plays", "listens", "weight", "quantity", "qty", "frequency",
            "times", "amount")
_EVENTS = ("event", "event_type", "action", "action_type", "behavior", "behaviour", "behavior_type", "interaction_type")
_FOUND = (
    (_OUTCOMES, "every event is a like. `--positive \"{0} >= 4\"` (or another bound) makes the other events negatives, "
                "`--weight {0}` lets a high one count more"),
    (_LABELS, "every event is a like. `--label {0}` makes events with 0 or less negatives of their users"),
    (_WEIGHTS, "all events have the same weight. `--weight {0}` weights them by it, `--where \"{0} > 0\"` leaves out "
               "returns"),
    (_EVENTS, "all kinds of events are likes. `--where \"{0} == KIND\"` keeps one kind, `--positive \"{0} == KIND\"` "
              "makes the other kinds negatives"),
)

_CORRELATION = 0.95  # rank correlation from which a column is suspicious
_TOLD = 0.5  # share of the events whose item a column gives away, from which it is suspicious
_LEAST = 20  # with fewer entities or distinct values, no line is written
_LOOKED_AT = 200_000  # events


def suspicious_notes(log: InteractionLog) -> Iterator[str]:
    """A line for each column of a log that may give evaluation's targets away.

    In the tables: a number that ranks users or items like their event counts in the whole log, test events included. In
    the events: a column that gives away the event's item. No request could have it.
    """
    for what, table, key, counts in (
        ("item", log.items, ITEM_ID, log.item_counts()),
        ("user", log.users, USER_ID, np.bincount(log.user, minlength=len(log.users))),
    ):
        for name in table.column_names:
            if name != key and abs(rank := _rank_correlation(table[name], counts)) >= _CORRELATION:
                yield (f"Suspicious: the {what} column `{name}` is ordered like the {what}s' event counts in the log "
                       f"(rank correlation {rank:.2f}). If it was counted over the whole log, it leaks the future into "
                       "evaluation: count it up to the split, or leave it out")
    for name in log.context.column_names:
        if name not in OF_EVENTS and (told := _told(log, name)) > _TOLD:
            yield (f"Suspicious: the event column `{name}` gives the item away, in {told:.0%} of the events. A request "
                   "cannot know it: leave it out, or make it a column of the items")


def _rank_correlation(column: pa.ChunkedArray, counts: np.ndarray) -> float:
    """Spearman's ρ of a column of numbers and counts above 0; 0 if there are too few values."""
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return 0.0
    known = pd.DataFrame({"value": values.numpy(values.one(column).cast(pa.float64(), safe=False)), "count": counts})
    known = known[known["count"] > 0].dropna()
    if len(known) < _LEAST or min(known.nunique()) < 5:
        return 0.0
    return float(known.rank().corr().iloc[0, 1])


def _told(log: InteractionLog, name: str) -> float:
    """The share of events whose item is the most frequent item of the other events with the same value.

    0 if the log's most frequent item is right for at least half as many events.
    """
    column = log.context[name]
    if values.is_list(column.type) or len(log) < 2 * _LEAST:
        return 0.0
    rows = np.arange(0, len(log), max(len(log) // _LOOKED_AT, 1))
    events = pd.DataFrame({"value": values.numpy(values.one(wide.take(column, rows)).dictionary_encode().indices),
                           "item": log.item[rows]}).dropna()
    learned, asked = events[::2], events[1::2]
    if learned["value"].nunique() < _LEAST or not len(asked):
        return 0.0
    pairs = learned.groupby(["value", "item"]).size().sort_values(kind="stable").reset_index()
    guess = pairs.drop_duplicates("value", keep="last").set_index("value")["item"]
    told = float((asked["value"].map(guess) == asked["item"]).mean())
    return told if told > 2 * float((asked["item"] == learned["item"].mode()[0]).mean()) else 0.0


def unread_notes(names: Iterable[str], labelled: bool) -> Iterator[str]:
    """A line for each unread column that may hold a label or weight, with the option that reads it.

    labelled: whether the events have labels already, so that no other column is one.
    """
    for name in names:
        word = name.lower().strip().replace(" ", "_").replace("-", "_")
        for words, found in _FOUND:
            if word in words and not (labelled and words in (_OUTCOMES, _LABELS)):
                yield f"`{name}` is not read: " + found.format(name)
