"""A log in a store."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tests.bars import remembered
from tfrs_twotower import progress
from tfrs_twotower.data import InteractionLog
from tfrs_twotower.online import (
    Event,
    Retention,
    SqliteFile,
    SqliteHistoryStore,
    SqliteProfileStore,
    count_kept,
    is_loaded,
    load_log,
    put_table,
)


def log(**context):
    """Six events; users 10, 20; of user 20 two equal ones."""
    return InteractionLog(
        user=np.array([0, 1, 1, 1, 0, 1], np.int32),
        item=np.array([0, 2, 2, 1, 2, 0], np.int32),
        timestamp=np.array([5, 7, 7, 7, 8, 9], np.int64),
        weight=np.ones(6, np.float32),
        context=pa.table({"price": [1.0] * 6, **context}),
        users=pa.table({"user_id": [10, 20]}),
        items=pa.table({"item_id": ["a", "b", "c"]}),
    )


@pytest.fixture
def store(tmp_path):
    store = SqliteHistoryStore(SqliteFile(tmp_path / "store.db"))
    yield store
    store.close()


def test_bars_count_users_and_events(store, tmp_path, monkeypatch):
    shown, bar = remembered()
    monkeypatch.setattr(progress, "bar", bar)
    profiles = SqliteProfileStore(SqliteFile(tmp_path / "profiles.db"))
    assert put_table(profiles, log().users) == 2
    profiles.close()
    assert load_log(store, log()) == count_kept(store, log()) == 6
    users, events, kept = shown.values()
    assert users == kept == [2, 2] and events == [6, 6]


def test_a_log_is_loaded_in_its_order_and_a_second_time_adds_nothing(store, monkeypatch):
    from tfrs_twotower.online import load

    monkeypatch.setattr(load, "_BLOCK", 2)  # equal events in different blocks
    assert [load_log(store, log()), load_log(store, log())] == [6, 0]
    first, second = store.last(["10", "20"], 10)
    assert [(e.item_id, e.timestamp) for e in first] == [("a", 5), ("c", 8)]
    assert [(e.item_id, e.timestamp) for e in second] == [("c", 7), ("c", 7), ("b", 7), ("a", 9)]


def test_second_copies_of_events_are_left_out(store):
    joined = dataclasses.replace(log(), part=np.array([0, 0, 1, 0, 1, 1], np.uint16))
    assert load_log(store, joined) == 5
    assert is_loaded(store, joined) and load_log(store, joined) == 0


def test_the_logs_own_ids_and_types_are_kept(store):
    store.append([Event("e3", "20", "b", 7, "buy")])  # came by itself before
    names = log(event_id=["e0", "e1", "e2", "e3", None, "e5"], event=["view", "view", None, "buy", "view", "buy"])
    assert load_log(store, names) == 5
    assert [e.event_id for e in store.last(["20"], 10)[0]] == ["e3", "e1", "e2", "e5"]
    first = [Event("e0", "10", "a", 5, "view"), Event("log:8:c:0", "10", "c", 8, "view")]
    assert store.last(["10"], 10, ["view"])[0] == first


def test_what_events_say_beside_is_kept(store):
    more = log(
        event=["view"] * 6, answer=["a0", *[None] * 5], place=[3, *[None] * 5], dwell=[1.5, *[None] * 3, 0.0, -1.0],
        value=[2, None, None, None, None, 7], query=["red shoes", *[None] * 5],
    )
    load_log(store, more)
    first, last = store.last(["10"], 9)[0]
    assert first == Event("log:5:a:0", "10", "a", 5, "view", "a0", 3, 1.5, 2.0, "red shoes")
    assert last == Event("log:8:c:0", "10", "c", 8, "view", dwell=0.0)
    assert store.last(["20"], 1)[0][0] == Event("log:9:a:0", "20", "a", 9, "view", value=7.0)


def test_columns_that_mean_something_else_are_no_numbers_of_events(store):
    load_log(store, log(value=["high"] * 6, place=["Berlin"] * 6))
    assert store.last(["10"], 1)[0][0] == Event("log:8:c:0", "10", "c", 8)


def test_a_log_is_loaded_when_its_last_event_that_can_be_is_in_the_store(store):
    assert not is_loaded(store, log())
    load_log(store, log(), clock=lambda: 8 - 86_400)  # all but the last
    assert not is_loaded(store, log()) and is_loaded(store, log(), clock=lambda: 8 - 86_400)
    load_log(store, log())
    assert is_loaded(store, log())


def test_what_retention_drops_is_counted_whatever_else_is_in_the_store(tmp_path, monkeypatch):
    from tfrs_twotower.online import load

    monkeypatch.setattr(load, "_USERS", 1)
    store = SqliteHistoryStore(SqliteFile(tmp_path / "store.db"), Retention(events=2))
    assert count_kept(store, log()) == 0
    load_log(store, log())
    assert count_kept(store, log()) == 4  # both of user 10, the last two of user 20's four
    store.append([Event("later", "20", "a", 10)])
    assert count_kept(store, log()) == 3
    store.close()


def test_events_of_the_future_are_left_out(store):
    assert load_log(store, log(), clock=lambda: 8 - 86_400) == 5  # of the times 5, 7, 7, 7, 8, 9
    assert count_kept(store, log()) == 5
    assert [e.timestamp for e in store.last(["20"], 9)[0]] == [7, 7, 7]
