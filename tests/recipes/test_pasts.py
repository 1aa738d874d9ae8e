"""Recipes whose histories are of some kinds of events and read more than items: trained, exported, asked."""

import dataclasses

import numpy as np
import pytest
from toy import planted, recipe

from tfrs_twotower import load_export
from tfrs_twotower.data import Columns
from tfrs_twotower.errors import ConfigError, DataError
from tfrs_twotower.features import Derived, History, Sequence
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.towers import GRU4Rec

COLUMNS = Columns(event="event", context=("dwell", "query"))
POOLED = (
    History(length=8), History(length=5, kinds=("buy",), reads=("dwell", "event"), categories=("genre",)),
)


def frames():
    """The planted log with kinds and dwell times, and a category of each item."""
    found, _ = planted()
    rng, events, items = np.random.default_rng(0), found["interactions"], found["items"]
    events = events.assign(event=rng.choice(["view", "buy", "dislike"], len(events), p=[0.5, 0.4, 0.1]),
                           dwell=rng.choice([np.nan, 3.0, 90.0], len(events)),
                           query=rng.choice([None, "red shoes", "Tea"], len(events)))
    return {**found, "interactions": events, "items": items.assign(genre=[f"g{i % 7}" for i in range(len(items))])}


def trained(folder, derived, kinds=(), **model):
    """A recommender of one epoch."""
    base = recipe(epochs=1)
    made = dataclasses.replace(base, derived=derived, history_kinds=kinds,
                               model=dataclasses.replace(base.model, **model))
    return Recommender(made, directory=folder, columns=COLUMNS, **frames()).fit(verbose=0)


@pytest.mark.parametrize("derived, model", [
    (Derived(query=POOLED, searches=True), {}),
    (Derived(query=(Sequence(length=8, kinds=("view", "buy"), reads=("event", "dwell"), categories=("genre",)),)),
     {"query_encoder": GRU4Rec()}),
], ids=["pooled", "sequence"])
def test_training_and_the_export_agree_and_the_manifest_says_what_is_read(tmp_path, derived, model):
    found = trained(tmp_path / "run", derived, ("view", "buy"), **model)
    a = found.assembly
    found.export()
    export = load_export(tmp_path / "run" / "export")
    rows = a.split.test.row[:5]
    raw = a.examples.raw_queries(rows)
    np.testing.assert_allclose(export("embed_query", **raw)["embedding"], a.query_vectors(rows), atol=1e-5)
    kept = {name: (window.kinds, window.length) for name, window in export.histories.items()}
    assert export.manifest["searches"] == (0 if model else 20)
    if model:
        assert kept == {"history_view_buy": (("view", "buy"), 8)}
        kinds = a.log.context["event"].to_numpy(zero_copy_only=False)
        batch = a.batches.batch(0)
        assert set(batch["past"]) == {"index", "times", "now", "event", "dwell"}
        assert (kinds[a.batches._order] != "dislike").all()
    else:
        assert kept == {"history": (("view", "buy"), 8), "history_buy": (("buy",), 5)}
        shown = a.examples.pasts["history_buy"].shows
        assert (a.log.context["event"].to_numpy(zero_copy_only=False)[shown] == "buy").all()
    assert len(found.recommend([a.log.users["user_id"][0].as_py()], 3)) == 3


def test_what_a_log_lacks_is_said(tmp_path):
    with pytest.raises(DataError, match="has none. It has \\['buy', 'dislike', 'view'\\]. Did you mean `buy`?"):
        trained(tmp_path, Derived(query=(History(kinds=("bye",)),)))
    with pytest.raises(ConfigError, match="`genres`, and the item table has no such column. Did you mean `genre`"):
        trained(tmp_path, Derived(query=(History(categories=("genres",)),)))
    found = {k: v.drop(columns=["event", "dwell", "query"]) if k == "interactions" else v for k, v in frames().items()}
    base = dataclasses.replace(recipe(epochs=1), derived=Derived(query=(History(reads=("event",)),)))
    with pytest.raises(ConfigError, match="reads `event`, and the log has no such column"):
        Recommender(base, directory=tmp_path, **found).fit(verbose=0)
