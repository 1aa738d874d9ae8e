"""Steps on first events: by hand, a start that is learned where all newcomers differ from their towers alike, and as
an option of a recipe: the same in evaluation, in a loaded run and in an export."""

import contextlib
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests import toy
from tfrs_twotower import columns as c
from tfrs_twotower.configuration import override
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.exporting import manifest
from tfrs_twotower.features import History, Id, Schema
from tfrs_twotower.freshness import FreshItems
from tfrs_twotower.models import FewShot, Reptile
from tfrs_twotower.online import Event, open_stores
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.serving.loading import load

ITEMS = np.eye(2, dtype=np.float32)
FEW_SHOT = 'model.few_shot={"type": "Reptile", "users": true}'


def test_a_step_by_hand():
    one = FewShot(ITEMS, 2.0, Reptile(steps=1, rate=0.5))
    user, first = np.array([[1.0, 0.0]]), ITEMS[1:]
    p = np.exp(2.0) / (np.exp(2.0) + 1)  # of item 0
    moved = user + 0.5 * np.array([[0 - p, 1 - (1 - p)]])
    np.testing.assert_allclose(one.adapted(user, first), moved / np.linalg.norm(moved), rtol=1e-6)
    still = FewShot(ITEMS, 2.0, Reptile(steps=0))
    np.testing.assert_allclose(still.adapted(user, first), user)


def test_the_start_takes_over_what_all_newcomers_share():
    """All towers say item 0, and all newcomers take item 1: the start alone turns their vectors round."""
    users, first = np.tile([[1.0, 0.0]], (50, 1)).astype(np.float32), np.repeat(ITEMS[1:], 50, axis=0)
    learned = FewShot(ITEMS, 2.0, Reptile(steps=3, rate=0.3))
    learned.learn(users, first)
    without_events = FewShot(ITEMS, 2.0, Reptile(steps=0))
    without_events.start = learned.start
    best = without_events.adapted(users[:1], first[:1])[0]
    assert best[1] > best[0]
    once, unlearned = Reptile(steps=1, rate=0.1), FewShot(ITEMS, 2.0, Reptile(steps=1, rate=0.1))
    quick = FewShot(ITEMS, 2.0, once)
    quick.start = learned.start
    assert quick.adapted(users[:1], first[:1])[0, 1] > unlearned.adapted(users[:1], first[:1])[0, 1]


def test_only_newcomers_with_events_move():
    few, vectors = FewShot(ITEMS, 2.0), tf.constant([[1.0, 0.0]] * 3)
    rows = np.array([[1, -1], [-1, -1], [1, 0]])
    found = few.newcomers_adapted(vectors, tf.constant([True, True, False]), ITEMS, rows).numpy()
    np.testing.assert_allclose(found[0], few.adapted(vectors[:1], ITEMS[1:])[0], rtol=1e-6)
    assert found[0, 1] > 0.1 and (found[1:] == [1.0, 0.0]).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Every tenth user comes in the last tenth of the time, after the training, and so has no row."""
    frames, _ = toy.planted()
    events = frames["interactions"]
    late, last = events.user_id.isin(sorted(events.user_id.unique())[::10]), events.timestamp.max()
    events.loc[late, "timestamp"] = last - (last - events.timestamp[late]) // 10
    schema = Schema(query=(Id(c.USER_ID, dropout=0.2), History(length=3)), candidate=(Id(c.ITEM_ID),))
    recipe = override(dataclasses.replace(toy.recipe(epochs=1), schema=schema), [FEW_SHOT])
    return Recommender(recipe, **frames, directory=tmp_path_factory.mktemp("run")).fit(verbose=0)


@pytest.fixture(scope="module")
def version(trained, tmp_path_factory):
    return trained.export(tmp_path_factory.mktemp("export"))


def test_an_export_and_a_loaded_run_adapt_as_the_evaluation(trained, version):
    a = trained.assembly
    assert np.any(a.new_users.start)
    rows, cold = a.split.test.row, a._cold_users(a.split.test)
    before = dataclasses.replace(a, new_users=None).query_vectors(rows)
    moved = np.abs(a.query_vectors(rows) - before).max(axis=1) > 1e-3
    past = a.terms.newest(rows, 5)[:, 0] >= 0
    assert cold[past].any() and not cold[past].all() and (moved == (cold & past)).all()
    model = load(str(version), 1, manifest.read(version))
    features = a.examples.raw_queries(rows, a.past_length)
    embedded = model.signature(c.EMBED_QUERY)(features)[c.EMBEDDING]
    np.testing.assert_allclose(embedded, a.query_vectors(rows), atol=1e-5)
    again = Recommender.load(trained.directory).assembly
    np.testing.assert_allclose(again.query_vectors(rows), a.query_vectors(rows), atol=1e-5)


def test_new_items_of_a_server_move_as_the_training_learned(trained, version, tmp_path):
    a = trained.assembly
    model, stores = load(str(version), 1, manifest.read(version)), open_stores(f"sqlite:{tmp_path}/store.db")
    user, other = (a.log.users[c.USER_ID][int(row)].as_py() for row in a.log.user[a.split.train[[0, -1]]])
    item, at = a.log.items[c.ITEM_ID][0].as_py(), model.manifest["trained_on"]["until"] + 100
    stores.history.append([
        Event("1", user, item, at), Event("2", user, "new", at + 9), Event("3", user, item, at + 20),
        Event("4", other, "new", at + 9, "dislike"), Event("5", other, "never sent", at + 9),
    ])
    with contextlib.closing(FreshItems(tmp_path / "items")) as fresh:
        fresh.attach(model)
        fresh.change([{c.ITEM_ID: "new"}])
        content = fresh.items(model).vectors(["new"])
        assert fresh.adapt(stores, at + 100) == 1 and fresh.adapt(stores, at + 500) == 0
        moved = fresh.items(model).vectors(["new"])
    asked = {c.USER_ID: [user], c.HISTORY_ITEM_ID: [[item]], c.HISTORY_TIMESTAMP: [[at]], c.TIMESTAMP: [at + 9]}
    query = model(c.EMBED_QUERY, **{name: asked[name] for name in model.query_inputs})[c.EMBEDDING]
    np.testing.assert_allclose(moved, a.new_items.adapted(content, query), atol=1e-5)
    assert np.abs(moved - content).max() > 1e-3
    stores.close()


@pytest.mark.parametrize("side, query, candidate", [
    ("users", Id(c.USER_ID), Id(c.ITEM_ID)), ("users", History(), Id(c.ITEM_ID)),
    ("items", Id(c.USER_ID), Id(c.ITEM_ID, buckets=50)),
])
def test_it_needs_a_table_of_ids(trained, side, query, candidate, tmp_path):
    recipe = dataclasses.replace(trained.recipe, schema=Schema(query=(query,), candidate=(candidate,)))
    recipe = override(recipe, [f"model.few_shot.users={str(side == 'users').lower()}"])
    with pytest.raises(ConfigError, match=f"model.few_shot.{side}"):
        Recommender(recipe, **toy.planted()[0], directory=tmp_path / "run").fit(verbose=0)
