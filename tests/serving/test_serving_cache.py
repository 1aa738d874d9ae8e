"""Query vectors that are kept: the same answers, and never one that is out of date."""

import shutil

import numpy as np
import pytest

from tests.serving import history_export
from tfrs_twotower.online import Event, LruVectorCache, StoreError
from tfrs_twotower.serving import Predictor, Repository
from tfrs_twotower.serving.cached_tower import CachedTower
from tfrs_twotower.serving.features import Features
from tfrs_twotower.serving.metrics import Metrics

NOW = 1_700_000_000


class Serving:
    """A predictor with a store and a cache, over a folder of its own."""

    def __init__(self, root, stores, cache):
        self.metrics, self.now, self.stores = Metrics(), NOW, stores
        tower = CachedTower(cache, self.metrics)
        self.repository = Repository(root, call=tower.call)
        self.repository.poll()
        features = Features(stores, self.metrics, time_step=60, clock=lambda: self.now)
        self.predictor = Predictor(self.repository, features=features, call=tower.call)

    def ask(self, users, **inputs):
        """(ids, scores) of the best item of each user."""
        found = self.predictor.predict("", {"user_id": users, "k": np.int32(1), **inputs})
        return found["ids"][:, 0].tolist(), found["scores"][:, 0].tolist()

    def lookups(self):
        """(hits, misses) so far."""
        lines = self.metrics.text()[0].decode().splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if line.startswith("twotower_vector_cache_lookups_total"))
        counts = [values.get(f'twotower_vector_cache_lookups_total{{result="{r}"}}', 0) for r in ("hit", "miss")]
        return tuple(int(float(count)) for count in counts)

    def did(self, user, item):
        """The user does something with an item, now."""
        self.stores.history.append([Event(f"{self.now}-{item}", str(user), str(item), self.now, "")])


@pytest.fixture(params=["lru", "redis"])
def cache(request):
    if request.param == "lru":
        return LruVectorCache(1000)
    from tfrs_twotower.online.redis_vector_cache import RedisVectorCache

    return RedisVectorCache(request.getfixturevalue("redis").url)


@pytest.fixture
def serving(tmp_path, history_root, stores, cache):
    shutil.copytree(history_root, tmp_path / "exports")
    serving = Serving(tmp_path / "exports", stores, cache)
    yield serving
    serving.repository.close()
    cache.close()


def test_a_second_request_hits_and_answers_the_same(serving):
    serving.did(7, 2)
    first = serving.ask([7, 8])
    assert first == ([2, 4], [pytest.approx(2.2), pytest.approx(1.4)]) and serving.lookups() == (0, 2)
    assert serving.ask([7, 8]) == first and serving.lookups() == (2, 2)
    assert serving.ask([9, 7, 8])[0] == [4, 2, 4] and serving.lookups() == (4, 3)  # hits and misses in one batch


def test_filters_belong_to_the_search(serving):
    serving.did(7, 2)
    assert serving.ask([7])[0] == [2]
    assert serving.ask([7], exclude_ids=[[2, 4]])[0] == [3] and serving.lookups() == (1, 1)


def test_an_event_is_seen_by_the_next_request(serving):
    for item, best, score in ((3, 3, 2.3), (1, 3, 2.3), (1, 1, 3.1), (2, 1, 3.1), (2, 2, 3.2)):  # of the last 3 events
        serving.now += 1
        serving.did(7, item)
        assert serving.ask([7]) == ([best], [pytest.approx(score)])
    assert serving.lookups() == (0, 5)


def test_a_new_profile_a_new_context_and_a_new_minute_miss(serving):
    serving.ask([7])
    serving.now += 59 - serving.now % 60  # the last second of the same minute
    serving.ask([7])
    assert serving.lookups() == (1, 1)
    serving.now += 1
    serving.ask([7])
    assert serving.lookups() == (1, 2)
    serving.stores.profiles.put({"7": {"age": 3}})
    serving.ask([7])
    assert serving.lookups() == (1, 3)
    serving.ask([7], age=np.array([4], np.float32))
    assert serving.lookups() == (1, 4)


def test_a_new_model_never_meets_an_old_vector(serving):
    assert serving.ask([7])[1] == [pytest.approx(1.4)]
    history_export.write(serving.repository.root, 2)
    serving.repository.poll()
    assert serving.ask([7])[1] == [pytest.approx(2.4)]
    assert serving.lookups() == (0, 2)


def test_other_files_under_the_same_number_are_another_model(serving):
    assert serving.ask([7])[1] == [pytest.approx(1.4)]
    root = serving.repository.root
    history_export.write(root, 5)
    shutil.rmtree(f"{root}/1")
    shutil.move(f"{root}/5", f"{root}/1")
    serving.repository.poll()
    assert serving.ask([7])[1] == [pytest.approx(5.4)]


def test_a_cache_that_fails_costs_time_alone(history_root, stores):
    class Broken:
        """A cache whose server is gone."""

        def get(self, keys):
            raise StoreError("gone")

        def put(self, keys, vectors):
            raise StoreError("gone")

    serving = Serving(history_root, stores, Broken())
    assert serving.ask([7])[0] == [4]
    assert b'twotower_store_failures_total{what="cache"} 2.0' in serving.metrics.text()[0]
    serving.repository.close()


def test_an_export_without_search_by_vector_is_served_as_ever(tmp_path, publish, stores):
    publish(tmp_path, 1)
    serving = Serving(tmp_path, stores, LruVectorCache(10))
    found = serving.predictor.predict("", {"user_id": ["u"]})
    assert found["ids"].tolist() == [[b"a", b"b"]] and serving.lookups() == (0, 0)
    serving.repository.close()
