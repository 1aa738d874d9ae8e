"""What every `UserVectorCache` has to do, and what its keys tell apart."""

import numpy as np
import pytest

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.online import LruVectorCache, vector_keys


@pytest.fixture(params=["lru", "redis"])
def cache(request):
    if request.param == "lru":
        cache = LruVectorCache(100)
    else:
        from tfrs_twotower.online.redis_vector_cache import RedisVectorCache

        cache = RedisVectorCache(request.getfixturevalue("redis").url)
    yield cache
    cache.close()


def test_vectors_come_back_bit_for_bit(cache):
    vectors = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    keys = [b"a", b"\x00\xff", b"c"]
    cache.put(keys, vectors)
    found = cache.get([b"c", b"other", b"\x00\xff"])
    assert found[0].dtype == np.float32 and np.array_equal(found[0], vectors[2])
    assert found[1] is None and np.array_equal(found[2], vectors[1])
    assert cache.get([]) == []


def test_what_is_put_is_a_copy(cache):
    vectors = np.ones([1, 4], np.float32)
    cache.put([b"a"], vectors)
    vectors[:] = 0
    assert cache.get([b"a"])[0].tolist() == [1, 1, 1, 1]


def test_the_vector_used_longest_ago_goes_first():
    cache = LruVectorCache(2)
    vectors = np.arange(3, dtype=np.float32)[:, None]
    cache.put([b"a", b"b"], vectors[:2])
    cache.get([b"a"])
    cache.put([b"c"], vectors[2:])
    assert [v is None for v in cache.get([b"a", b"b", b"c"])] == [False, True, False]
    with pytest.raises(ConfigError, match="`size` must be at least 1"):
        LruVectorCache(0)


def test_redis_forgets_after_a_time(redis):
    from tfrs_twotower.online.redis_vector_cache import RedisVectorCache

    cache = RedisVectorCache(redis.url, seconds=77)
    cache.put([b"a"], np.ones([1, 4], np.float32))
    (key,) = redis.client.keys()
    assert 70 < redis.client.ttl(key) <= 77
    cache.close()


def request(user=b"u", items=(b"a", b"b"), times=(5, 6), now=60, age=0.5):
    return {
        "user_id": np.array([user], object),
        "history_item_id": np.array([list(items)], object).reshape(1, -1),
        "history_timestamp": np.array([list(times)], np.int64),
        "timestamp": np.array([now], np.int64),
        "age": np.array([age], np.float32),
    }


def test_a_key_changes_with_everything_that_the_tower_reads():
    keys = [
        vector_keys(model, request(**change))[0]
        for model, change in [
            ("m1", {}), ("m2", {}), ("m1", {"user": b"v"}), ("m1", {"items": (b"a", b"c")}),
            ("m1", {"items": (b"ab",)}), ("m1", {"items": (b"", b"ab")}), ("m1", {"items": (), "times": ()}),
            ("m1", {"items": (b"a", b"b", b"c"), "times": (5, 6, 7)}), ("m1", {"times": (5, 7)}),
            ("m1", {"now": 61}), ("m1", {"age": 0.25}),
        ]
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == vector_keys("m1", request())[0]


def test_a_key_does_not_depend_on_the_rest_of_the_batch():
    both = {
        "user_id": np.array([b"v", b"u"], object),
        "history_item_id": np.array([[b"a", b"b", b"c"], [b"a", b"b", b""]], object),
        "history_timestamp": np.array([[1, 2, 3], [5, 6, -1]]),
        "timestamp": np.array([60, 60]),
        "age": np.array([0.1, 0.5], np.float32),
    }
    assert vector_keys("m1", both)[1] == vector_keys("m1", request())[0]


def test_where_one_feature_ends_and_the_next_begins_counts():
    def key(first, second):
        return vector_keys("m", {"a": np.array([first], object), "b": np.array([second], object)})[0]

    assert key(b"xy", b"z") != key(b"x", b"yz")


def test_a_vector_column_keeps_its_zeros():
    def key(values):
        return vector_keys("m", {"v": np.array([values], np.float32)})[0]

    assert key([1, 0]) != key([1, 0, 0])
    assert key([1, np.nan]) == key([1]) != key([np.nan, 1])  # a list of numbers, padded
