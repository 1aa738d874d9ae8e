"""A user without a history is offered what is popular: by recipes that read one, in memory, measured and exported."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import toy

from tfrs_twotower import columns as c
from tfrs_twotower import recipes
from tfrs_twotower.configuration import override
from tfrs_twotower.data import Temporal
from tfrs_twotower.features import Derived
from tfrs_twotower.losses import FullSoftmax
from tfrs_twotower.pipeline.requests import live_requests
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.towers import MLP

import tensorflow as tf  # isort: skip

POPULAR = {"i0", "i1", "i2"}
LINEAR = ModelConfig(dim=8, query_encoder=MLP(widths=()), candidate_encoder=MLP(widths=()), loss=FullSoftmax())
SETTINGS = (
    "training.epochs=8", "training.batch_size=96", "training.patience=0", "training.average=0.0",
    "training.known_positives=0", "training.optimizer.learning_rate=0.01", "evaluation.bootstrap=0",
    "evaluation.ks=[3, 10]",
)


def frame():
    """Chance alone chooses the items: three of them 75% of the time, the last ones of the table.

    People come one after the other, so that those of the test have no past.
    """
    rng = np.random.default_rng(0)
    share = [0.3, 0.25, 0.2, *[0.25 / 17] * 17]
    taken = [range(19, 2, -1), *(rng.choice(20, 5, p=share) for _ in range(240))]
    rows = [(f"u{user:03}", f"i{item}", 1_700_000_000 + 100 * user + place)
            for user, past in enumerate(taken) for place, item in enumerate(past)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


def recipe(name):
    if name == "history":
        return override(Recipe(name, derived=Derived(user_id=False), model=LINEAR), SETTINGS)
    made = dataclasses.replace(recipes.load(name).on(None), split=Temporal())
    return override(made, [*SETTINGS, "derived.query.0.length=8"])


@pytest.mark.parametrize("name", ["gru4rec", "mind", "history"])  # tests/training/test_sequences.py: each encoder
def test_a_user_without_a_history_is_offered_what_is_popular(name, tmp_path):
    trained = Recommender(recipe(name), interactions=frame(), directory=tmp_path / "run").fit(verbose=0)
    a = trained.assembly
    assert set(trained.recommend("unknown", k=3)["item_id"]) == POPULAR

    ids = np.asarray(a.log.items["item_id"].to_pylist())[a.catalogue]
    assert not POPULAR & set(ids[:10])  # or answers without any score would pass
    new = a.examples.history.before(a.split.test.row, 1)[0][:, 0] < 0
    top = a.evaluate(a.split.test, a.model_scorer(a.split.test), bootstrap=0).top[new, :3]
    assert new.sum() > 20 and all(set(ids[row]) == POPULAR for row in top)

    if name == "gru4rec":  # `recommend` runs what an export saves: one of them is enough
        with toy.two_signatures():
            path = trained.export(tmp_path / "export")
        served = tf.saved_model.load(str(path)).signatures["serving_default"]
        features, nothing = live_requests(a, ["unknown"])[0], tf.constant([], tf.string, [1, 0])
        assert features[c.HISTORY_ITEM_ID].shape == (1, 0)
        answer = served(**features, **{
            c.K: tf.constant(3), c.EXCLUDE_IDS: nothing, c.ALLOW_IDS: nothing, c.POPULARITY_BETA: tf.constant(0.0),
        })
        assert {i.decode() for i in answer[c.IDS].numpy()[0]} == POPULAR
