"""What a `RedisHistoryStore` leaves in Redis."""

import pytest

from tfrs_twotower.online import Event, Retention
from tfrs_twotower.online.redis_connection import connect
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


def test_entries_of_earlier_versions_are_read_and_plain_events_are_written_as_they_were(redis):
    store = RedisHistoryStore(redis.url, clock=lambda: NOW)
    redis.client.zadd("twotower:{u}:events", {'0000000000000001["1", "i", "buy"]': NOW - 1})
    redis.client.sadd("twotower:{u}:ids", "1")
    redis.client.incr("twotower:{u}:arrivals")
    store.append([Event("2", "u", "i", NOW), Event("3", "u", "j", NOW, dwell=2.0)])
    assert store.last(["u"], 9)[0] == [
        Event("1", "u", "i", NOW - 1, "buy"), Event("2", "u", "i", NOW), Event("3", "u", "j", NOW, dwell=2.0),
    ]
    assert redis.client.zrange("twotower:{u}:events", 1, 2) == [
        b'0000000000000002["2", "i", ""]', b'0000000000000003["3", "j", "", "", null, 2.0]',
    ]
    store.close()


@pytest.mark.parametrize("url, blocks, seconds", [
    ("redis://host", 0.0, 1.0), ("redis://host?socket_timeout=5", 0.0, 5.0),
    ("redis://host", 2.0, 3.0), ("redis://host?socket_timeout=1", 2.0, 3.0),  # an idle stream is no server that hangs
])
def test_a_command_has_its_waiting_time_beside_the_limit(url, blocks, seconds):
    assert connect(url, False, blocks).get_connection_kwargs()["socket_timeout"] == seconds
