"""Columns that leak the target: statistics of the whole log, or values that give the item away."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

from tfrs_twotower.columns import EVENT, ITEM_ID, LABEL, SESSION, USER_ID
from tfrs_twotower.data import values
from tfrs_twotower.data.log import InteractionLog

_CORRELATION = 0.95  # rank correlation from which a column is suspicious
_TOLD = 0.5  # share of the events whose item a column gives away, from which it is suspicious
_LEAST = 20  # with fewer entities or distinct values, no line is written
_EVENTS = 200_000  # looked at


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
        if name not in (EVENT, LABEL, SESSION) and (told := _told(log, name)) > _TOLD:
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
    column = values.one(log.context[name])
    if values.is_list(column.type) or len(log) < 2 * _LEAST:
        return 0.0
    rows = np.arange(0, len(log), max(len(log) // _EVENTS, 1))
    events = pd.DataFrame({"value": values.numpy(column.take(pa.array(rows)).dictionary_encode().indices),
                           "item": log.item[rows]}).dropna()
    learned, asked = events[::2], events[1::2]
    if learned["value"].nunique() < _LEAST or not len(asked):
        return 0.0
    pairs = learned.groupby(["value", "item"]).size().sort_values(kind="stable").reset_index()
    guess = pairs.drop_duplicates("value", keep="last").set_index("value")["item"]
    told = float((asked["value"].map(guess) == asked["item"]).mean())
    return told if told > 2 * float((asked["item"] == learned["item"].mode()[0]).mean()) else 0.0
