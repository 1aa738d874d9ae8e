"""What Redis does by itself for a `RedisHistoryStore`."""

import pytest

from tfrs_twotower.online import Event, Retention
from tfrs_twotower.online.redis_stores import RedisHistoryStore

NOW = 1_700_000_000


@pytest.mark.parametrize("seconds, least, most", [(100, 40, 52), (None, -1, -1)])
def test_redis_forgets_a_user_of_whom_nothing_is_left(redis, seconds, least, most):
    store = RedisHistoryStore(redis.url, Retention(seconds=seconds), clock=lambda: NOW)
    store.append([Event("1", "u", "i", NOW - 50), Event("2", "u", "i", NOW - 60)])
    keys = redis.client.keys()
    assert len(keys) == 3
    assert all(least <= redis.client.ttl(key) <= most for key in keys)  # -1: never
    store.close()
