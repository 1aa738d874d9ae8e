"""Columns that know too much are named."""

import numpy as np
import pandas as pd
import pyarrow as pa

from tfrs_twotower.data import Columns, Frames, ingest


def notes(items=None, users=None, **context):
    rng = np.random.default_rng(0)
    item = rng.zipf(1.5, 4000) % 60
    events = pd.DataFrame({"user_id": rng.integers(0, 80, 4000), "item_id": item, "timestamp": 1_600_000_000})
    counts = events["item_id"].value_counts().reindex(range(60), fill_value=0).to_numpy()
    events = events.assign(**{name: make(item, rng) for name, make in context.items()})
    tables = {"items": items and pa.table({"item_id": range(60), **items(counts, rng)}),
              "users": users and pa.table({"user_id": range(80), **users(events)})}
    _, report = ingest(Frames(events, **tables, columns=Columns(context=tuple(context))))
    return [note for note in report.notes if note.startswith("Suspicious")]


def test_a_statistic_over_the_whole_log_is_named():
    assert notes(items=lambda counts, rng: {
        "price": rng.random(60), "year": rng.integers(1990, 2020, 60), "kind": ["a", "b"] * 30,
    }) == []
    (note,) = notes(items=lambda counts, rng: {"sold": counts * 10 + rng.integers(0, 5, 60), "price": rng.random(60)})
    assert "the item column `sold` is ordered like the items' event counts in the log (rank correlation 1.00)" in note
    (note,) = notes(items=lambda counts, rng: {"sales_rank": -np.sqrt(counts)})
    assert "`sales_rank`" in note and "-1.00" in note
    (note,) = notes(users=lambda events: {"n": events["user_id"].value_counts().reindex(range(80)).to_numpy()})
    assert "the user column `n`" in note


def test_a_column_of_the_events_that_gives_the_item_away_is_named():
    (note,) = notes(
        title=lambda item, rng: [f"title {i}" for i in item], hour=lambda item, rng: rng.integers(0, 24, 4000),
    )
    assert "the event column `title` gives the item away" in note
    assert notes(price=lambda item, rng: (item % 2 + rng.integers(0, 50, 4000)).astype(float)) == []
