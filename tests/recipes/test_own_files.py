"""Every recipe takes files of one's own: it derives its features from their columns, and adds what its system needs."""

import json

import numpy as np
import pandas as pd
import pytest

from tfrs_twotower import recipes
from tfrs_twotower.cli.main import build_parser
from tfrs_twotower.cli.training import recipe_of
from tfrs_twotower.configuration import override, to_dict
from tfrs_twotower.data import Files, Frames, TextVectors, ingest
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import (
    Augmented,
    Category,
    Derived,
    GraphVector,
    History,
    Id,
    Number,
    Sequence,
    Text,
    Time,
    Vector,
    infer_schema,
)
from tfrs_twotower.index import IndexConfig
from tfrs_twotower.pipeline.assembling import assemble

ITEMS = 40
PAST = {  # what a recipe reads of the past; `History(50)` by default
    "gru4rec": (Sequence(200),), "sasrec": (Sequence(200),), "hstu": (Sequence(200),),
    "mind": (History(5), Sequence(50)), "youtube_dnn": (History(50), History(5, "decay")),
    "youtube_sbc": (History(1), History(50, "decay")),
}
ALONE = ("gru4rec", "sasrec", "hstu", "youtube_dnn", "youtube_sbc")  # without an id of the user
FURTHER = {"dual_augmented": Augmented("item_id", dim=64), "graph": GraphVector()}


def interactions(seed=0, users=30, events=8):
    rng = np.random.default_rng(seed)
    rows = [(f"u{u}", f"i{rng.integers(ITEMS)}", 1_700_000_000 + 1000 * u + e)
            for u in range(users) for e in range(events)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


def items(seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "item_id": [f"i{i}" for i in range(ITEMS)], "Title": [f"the {i}th of {i * i}" for i in range(ITEMS)],
        "brand": [f"b{i % 4}" for i in range(ITEMS)], "price": rng.random(ITEMS),
        "image": rng.normal(size=(ITEMS, 3)).tolist(),
    })


def loss(a):
    """The loss of the first batch, as training computes it."""
    batch = next(iter(a.batches.dataset(0, 1)))
    a.model.create_weights(batch)
    return float(a.model.compute_loss(batch, training=True))


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_derives_its_features_and_adds_what_it_needs(name):
    recipe = override(recipes.load(name).on(None), ["training.batch_size=64", "race=null"])
    a = assemble(recipe, ingest(Frames(interactions(), items=items()))[0])
    schema = a.recipe.schema
    past = tuple(f for f in schema.query if isinstance(f, (History, Sequence)))
    assert [type(f) for f in past] == [type(f) for f in PAST.get(name, [History()])]
    assert [f.length for f in past] == [f.length for f in PAST.get(name, [History()])]
    assert any(type(f) is Id for f in schema.query) == (name not in ALONE)
    assert (Time("timestamp", parts=("recency",)) in schema.query) == (name == "youtube_dnn")
    kinds = {f.name: f for f in schema.candidate}
    further = FURTHER.get(name)
    assert {"id_item_id", "category_brand", "normalise_price", "vector_image"} <= set(kinds)
    assert ("trigrams_Title" if name == "dssm" else "words_Title") in kinds
    assert len(kinds) == 5 + (further is not None) and (further is None or further in schema.candidate)
    assert a.recipe.title == "Title" and a.recipe.index == IndexConfig()
    assert np.isfinite(loss(a))


def test_what_is_given_takes_the_place_of_what_is_derived():
    log, _ = ingest(Frames(interactions(), items=items()))
    given = (Id("item_id", dim=8), Number("price", "log1p"), GraphVector())
    schema = infer_schema(log, Derived(query=(Sequence(5),), candidate=given, user_id=False))
    assert schema.query == (Sequence(5),)
    assert schema.candidate == (*given, Text("Title"), Category("brand"), Vector("image"))


def asked(*argv):
    return recipe_of(build_parser().parse_args(["train", *argv]))


def test_the_command_line_derives_unless_features_are_given_by_hand(tmp_path):
    recipe = asked("mind", "--interactions", "x.csv", "--set", "derived.query.1.length=20")
    assert recipe.schema is None and recipe.title is None and recipe.derived.query == (History(5), Sequence(20))
    recipe = asked("multimodal", "--interactions", "x.csv", "--items", "y.csv")
    assert isinstance(recipe.source, TextVectors) and isinstance(recipe.source.source, Files)
    item = '[{"type": "Id", "column": "item_id"}]'
    by_hand = asked("hstu", "--interactions", "x.csv", "--set", f"schema.candidate={item}")
    assert by_hand.schema.candidate == (Id("item_id"),) and by_hand.schema.query == (Sequence(200),)
    (tmp_path / "mine.json").write_text(json.dumps(to_dict(recipes.load("hstu"))))
    assert asked(str(tmp_path / "mine.json"), "--interactions", "x.csv").schema == recipes.load("hstu").schema


@pytest.mark.parametrize(("name", "message"), [
    ("self_supervised", "have two features or more for SelfSupervision. Received: .* Give an item table"),
    ("multimodal", "a Vector for ContentAlignment. Received: .* lists of numbers"),
])
def test_what_a_recipe_lacks_is_said_in_one_line(name, message):
    a = assemble(recipes.load(name).on(None), ingest(Frames(interactions()))[0])
    with pytest.raises(ConfigError, match=f"^`Schema.candidate` must .*{message}[^\n]*$"):
        loss(a)


def test_items_without_a_category_are_not_aligned_and_that_is_said(caplog):
    recipe = recipes.load("dual_augmented").on(None)
    assert np.isfinite(loss(assemble(recipe, ingest(Frames(interactions()))[0])))
    assert [record.message[:38] for record in caplog.records] == ["CategoryAlignment is left out, as no c"]
