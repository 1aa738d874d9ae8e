"""A stream into a store: nothing lost, nothing twice, whatever is killed and when."""

import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest
import redis_server

from tfrs_twotower.cli.main import main
from tfrs_twotower.online import SqliteFile, SqliteHistoryStore, StoreError, open_stores, stream_consumer
from tfrs_twotower.online.stream_consumer import StreamConsumer


@pytest.fixture
def store(tmp_path):
    store = SqliteHistoryStore(SqliteFile(tmp_path / "store.db"))
    yield store
    store.close()


def add(redis, **fields):
    return redis.client.xadd("events", fields).decode()


def items(store, user="7"):
    return [e.item_id for e in store.last([user], 10_000)[0]]


def pending(redis):
    return redis.client.xpending("events", "twotower")["pending"]


def test_entries_become_events_with_the_entrys_id_and_time(redis, store):
    first = add(redis, user_id="7", item_id="né人")
    add(redis, user_id="7", item_id="b", event_id="mine", timestamp="5", event="buy")
    assert StreamConsumer(store, redis.url).step() == 2
    mine, other = store.last(["7"], 9)[0]
    assert (mine.event_id, mine.item_id, mine.timestamp, mine.event) == ("mine", "b", 5, "buy")
    assert (other.event_id, other.item_id, other.timestamp) == (first, "né人", int(first.split("-")[0]) // 1000)
    assert pending(redis) == 0


def test_numbers_of_an_entry_are_read_and_empty_ones_are_none(redis, store):
    add(redis, user_id="7", item_id="a", event="click", answer="x", place="2", dwell="1.5", value="")
    add(redis, user_id="7", event="search", query="red shoes")
    add(redis, user_id="7", item_id="b", place="first")
    add(redis, user_id="7", item_id="b", dwell="nan")
    assert StreamConsumer(store, redis.url).step() == 4
    click, search = store.last(["7"], 9)[0]
    assert click[4:] == ("click", "x", 2, 1.5, None, "") and search[4:] == ("search", "", None, None, None, "red shoes")
    reasons = [fields[b"reason"].decode() for _, fields in redis.client.xrange("events:rejected")]
    assert "`place` must be a whole number" in reasons[0] and "`dwell` must be a finite number" in reasons[1]


def test_what_is_no_event_is_put_aside_with_the_reason(redis, store):
    add(redis, user_id="7", item_id="a")
    bad = add(redis, user_id="7", item_id="b", timestamp="soon")
    add(redis, user_id="7")
    add(redis, user_id="7", item_id="c")
    assert StreamConsumer(store, redis.url).step() == 4
    assert items(store) == ["a", "c"] and pending(redis) == 0
    aside = [fields for _, fields in redis.client.xrange("events:rejected")]
    assert aside[0][b"entry"].decode() == bad and aside[0][b"item_id"] == b"b"
    assert b"`timestamp`" in aside[0][b"reason"] and b"needs `item_id`" in aside[1][b"reason"]


def test_a_name_in_an_entry_begins_no_line_of_the_log(redis, store, caplog):
    add(redis, **{"x\nERROR forged": "1", "y\u2028z": "1", "user_id": "7", "item_id": "a"})
    StreamConsumer(store, redis.url).step()
    assert len(caplog.records) == 1 and len(caplog.records[0].getMessage().splitlines()) == 1


def test_bytes_that_are_no_text_are_put_aside_as_they_came(redis, store, caplog):
    for fields in ({b"user_id": b"\xff\xfe", b"item_id": b"x"}, {b"\xff": b"1", b"user_id": b"7", b"item_id": b"b"}):
        redis.client.xadd("events", fields)
    add(redis, user_id="7", item_id="a")
    assert StreamConsumer(store, redis.url).step() == 3
    assert items(store) == ["a"] and pending(redis) == 0
    aside = [fields for _, fields in redis.client.xrange("events:rejected")]
    assert aside[0][b"user_id"] == b"\xff\xfe" and aside[1][b"\xff"] == b"1"
    assert b"must be text that UTF-8 can write" in aside[0][b"reason"] and b"has no `\\udcff`" in aside[1][b"reason"]
    assert "\\udcff" in caplog.text.encode().decode()  # a log file takes it


def test_what_was_taken_and_not_finished_is_taken_again_by_the_same_name(redis, store):
    for n in range(5):
        add(redis, user_id="7", item_id=str(n))
    redis.client.xgroup_create("events", "twotower", "0")
    redis.client.xreadgroup("twotower", "1", {"events": ">"}, count=3)  # a consumer that died before it wrote
    consumer = StreamConsumer(store, redis.url, batch=2)
    assert [consumer.step() for _ in range(3)] == [2, 1, 2]
    assert items(store) == ["0", "1", "2", "3", "4"] and pending(redis) == 0


def test_what_another_abandoned_is_taken_over(redis, store, monkeypatch):
    add(redis, user_id="7", item_id="a")
    redis.client.xgroup_create("events", "twotower", "0")
    redis.client.xreadgroup("twotower", "dead", {"events": ">"})
    monkeypatch.setattr(stream_consumer, "_WAIT_MILLISECONDS", 10)
    consumer = StreamConsumer(store, redis.url)
    assert consumer.step() == 0 and items(store) == []  # it may be at work still
    monkeypatch.setattr(stream_consumer, "_ABANDONED_MILLISECONDS", 0)
    assert consumer.step() == 1 and items(store) == ["a"] and pending(redis) == 0


def test_two_consumers_share_a_group(redis, store):
    for n in range(20):
        add(redis, user_id="7", item_id=str(n))
    consumers = [StreamConsumer(store, redis.url, name=name, batch=5) for name in "12"]
    assert [consumer.step() for consumer in consumers * 2] == [5, 5, 5, 5]
    assert items(store) == [str(n) for n in range(20)]


def test_a_store_that_fails_for_a_while_loses_nothing(redis, store, monkeypatch):
    append, failures = store.append, iter([True, True, False])

    def sometimes(events):
        if next(failures, False):
            raise StoreError("The disk is full.")
        return append(events)

    monkeypatch.setattr(store, "append", sometimes)
    monkeypatch.setattr(stream_consumer, "_RETRY_SECONDS", 0.01)
    add(redis, user_id="7", item_id="a")
    run_until(StreamConsumer(store, redis.url), lambda: items(store) == ["a"])
    assert pending(redis) == 0


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def run_until(consumer, condition):
    stop = threading.Event()
    thread = threading.Thread(target=consumer.run, args=(stop,))
    thread.start()
    try:
        wait_for(condition)
    finally:
        stop.set()
        thread.join()


def test_a_redis_that_dies_comes_back_and_the_consumer_goes_on(store, monkeypatch):
    monkeypatch.setattr(stream_consumer, "_RETRY_SECONDS", 0.05)
    with redis_server.running() as server:
        add(server, user_id="7", item_id="a")
        consumer = StreamConsumer(store, server.url)
        stop = threading.Event()
        thread = threading.Thread(target=consumer.run, args=(stop,))
        thread.start()
        wait_for(lambda: items(store) == ["a"])
        server.kill()
        time.sleep(0.2)
        server.start()
        add(server, user_id="7", item_id="b")
        wait_for(lambda: items(store) == ["a", "b"])
        stop.set()
        thread.join()


def test_a_key_that_is_no_stream_is_refused(redis, store):
    redis.client.set("events", "text")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        StreamConsumer(store, redis.url)


@pytest.mark.parametrize("engine", ["sqlite", "redis"])
def test_consumers_killed_again_and_again_lose_nothing_and_count_nothing_twice(engine, redis, tmp_path):
    """Real processes, SIGKILL at random moments, entries that arrive meanwhile, some of them sent twice."""
    address = f"sqlite:{tmp_path}/store.db" if engine == "sqlite" else redis.url
    command = [sys.executable, "-m", "tfrs_twotower", "consume", redis.url, "--store", address, "--batch", "7"]
    rng, total = random.Random(0), 300
    stores = open_stores(address)
    written = 0
    for turn in range(60):
        if written == total and not pending(redis) and len(items(stores.history)) >= total:
            break
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline().startswith("Consuming events as 1 of twotower into")
        for _ in range(rng.randrange(1, 80)):
            if written < total:
                for _ in range(rng.choice([1, 1, 2])):
                    add(redis, user_id="7", item_id=f"i{written}", event_id=f"e{written}", timestamp=str(1 + written))
                written += 1
        time.sleep(rng.random() * 0.05 * turn)  # longer and longer, so that a slow machine comes to the end too
        process.kill()
        process.stdout.close()
        process.wait()
    assert items(stores.history) == [f"i{n}" for n in range(total)]
    stores.close()


def test_sigterm_ends_a_consumer_well(redis, tmp_path):
    command = [sys.executable, "-m", "tfrs_twotower", "consume", redis.url, "--store", f"sqlite:{tmp_path}/s.db"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0 and process.stderr.read() == ""


def test_the_command_refuses_in_one_line(tmp_path, capsys, redis):
    redis.client.set("events", "text")
    assert main(["consume", redis.url, "--store", f"sqlite:{tmp_path}/s.db"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"twotower: The Redis server at {redis.url} fails") and err.count("\n") == 1


def test_the_command_starts_before_redis_and_consumes_when_it_is_there(tmp_path):
    """The stream and the store are in the same server, which starts last."""
    with tempfile.TemporaryDirectory(prefix="redis") as folder:
        server = redis_server.RedisServer(folder)
        command = [sys.executable, "-m", "tfrs_twotower", "consume", server.url, "--store", server.url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert "Consuming events" in process.stdout.readline()
            assert "fails" in process.stderr.readline()
            server.start()
            add(server, user_id="7", item_id="a")
            store = open_stores(server.url).history
            wait_for(lambda: items(store) == ["a"])
            store.close()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            process.stdout.close()
            process.stderr.close()
            server.stop()
