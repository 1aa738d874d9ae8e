"""A real export, a store filled from its log, and user ids alone: what the trained recommender itself recommends."""

import numpy as np
import pytest

from tfrs_twotower import columns as c
from tfrs_twotower.index import IndexConfig
from tfrs_twotower.online import Event, LruVectorCache, load_log, open_stores, put_table
from tfrs_twotower.pipeline.requests import live_requests
from tfrs_twotower.serving import Predictor, Repository
from tfrs_twotower.serving.cached_tower import CachedTower
from tfrs_twotower.serving.features import Features
from tfrs_twotower.serving.metrics import Metrics

USERS = ["u3", "u77", "u150", "never seen"]


@pytest.fixture(scope="module")
def root(trained, tmp_path_factory):
    root = tmp_path_factory.mktemp("exports")
    trained.index(IndexConfig(kind="exact", k=10))
    trained.export(root)
    return root


@pytest.fixture(scope="module")
def stores(trained, tmp_path_factory):
    """All that the log knows."""
    stores = open_stores(f"sqlite:{tmp_path_factory.mktemp('store')}/store.db")
    load_log(stores.history, trained.assembly.log)
    put_table(stores.profiles, trained.assembly.log.users)
    yield stores
    stores.close()


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "cached"])
def predictor(request, root, trained, stores):
    metrics, now = Metrics(), int(trained.assembly.log.timestamp[-1]) + 1  # the moment of `live_requests`
    settings = {"call": CachedTower(LruVectorCache(100), metrics).call} if request.param else {}
    repository = Repository(root, **settings)
    repository.poll()
    yield Predictor(repository, features=Features(stores, metrics, clock=lambda: now), **settings)
    repository.close()


def test_a_user_id_alone_gets_what_the_recommender_recommends(trained, predictor):
    expected = trained.recommend(USERS, k=10)  # without what they had, as the recipe is evaluated
    for _ in range(2):
        found = predictor.predict("", {c.USER_ID: USERS})
        assert [i.decode() for i in found[c.IDS].ravel()] == expected[c.ITEM_ID].tolist()
        np.testing.assert_allclose(found[c.SCORES].ravel(), expected["score"], rtol=1e-4, atol=1e-4)
    everything = predictor.predict("", {c.USER_ID: USERS, c.EXCLUDE_IDS: np.zeros([1, 0], object)})[c.IDS]
    expected = trained.recommend(USERS, k=10, exclude_seen=False)
    assert [i.decode() for i in everything.ravel()] == expected[c.ITEM_ID].tolist()
    pairs = {c.USER_ID: USERS, c.CANDIDATE_IDS: found[c.IDS]}
    np.testing.assert_allclose(predictor.predict("score_pairs", pairs)[c.SCORES], found[c.SCORES], rtol=1e-4, atol=1e-4)


def test_the_joined_features_are_those_of_a_whole_request(trained, predictor):
    features, _ = live_requests(trained.assembly, USERS)
    whole = predictor.predict("embed_query", features)[c.EMBEDDING]
    np.testing.assert_allclose(predictor.predict("embed_query", {c.USER_ID: USERS})[c.EMBEDDING], whole, atol=1e-6)


def test_new_events_change_the_vector_of_their_user_alone(trained, predictor, stores):
    users = ["u3", "u77", f"a newcomer to {id(predictor)}"]
    before = predictor.predict("", {c.USER_ID: users})[c.SCORES]
    now = int(trained.assembly.log.timestamp[-1])
    stores.history.append([Event(str(n), users[-1], "i3", now, "") for n in range(3)])
    after = predictor.predict("", {c.USER_ID: users})[c.SCORES]
    assert (np.abs(after - before).max(axis=1) > 1e-3).tolist() == [False, False, True]
