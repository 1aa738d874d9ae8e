"""What a `RedisHistoryStore` leaves in Redis."""

from tfrs_twotower.online import Event, Retention
from tfrs_twotower.online.redis_stores import RedisHistoryStore

NOW = 1_700_000_000


def test_nothing_is_left_of_a_user_without_events_and_no_key_expires_by_redis_own_clock(redis):
    store = RedisHistoryStore(redis.url, Retention(seconds=100), clock=lambda: NOW)
    store.append([Event("1", "u", "i", NOW - 150), Event("2", "v", "i", NOW), Event("3", "v", "i", NOW)])
    keys = redis.client.keys()
    assert len(keys) == 6 and all(redis.client.ttl(key) == -1 for key in keys)  # -1: never
    for key in keys:
        redis.client.expire(key, 1000)  # as version 0.2.0 did
    assert store.trim() == 1
    assert all(b"{v}" in key and redis.client.ttl(key) == -1 for key in redis.client.keys())
    assert len(redis.client.keys()) == 3
    store.close()
