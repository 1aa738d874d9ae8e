"""A stream into a store: nothing lost, nothing twice, whatever is killed and when. The same for Redis and Kafka."""

import random
import signal
import threading
import time

import pytest
import streams
from forked import Forked, twotower

from tfrs_twotower.cli.main import main
from tfrs_twotower.online import (
    SqliteFile,
    SqliteHistoryStore,
    StoreError,
    kafka_client,
    kafka_topic,
    open_stores,
    redis_stream,
    stream_consumer,
)
from tfrs_twotower.online.streams import open_stream


@pytest.fixture
def store(tmp_path):
    store = SqliteHistoryStore(SqliteFile(tmp_path / "store.db"))
    yield store
    store.close()


@pytest.fixture(params=["redis", "kafka"])
def stream(request):
    """A new stream."""
    yield from opened(request.param, request.getfixturevalue(request.param))


def opened(kind, server, partitions=1):
    events = streams.KINDS[kind][1](server, partitions)
    yield events
    if kind == "kafka":
        events.close()


@pytest.fixture
def topic(kafka):
    """A new Kafka topic."""
    yield from opened("kafka", kafka)


def items(store, user="7"):
    return [e.item_id for e in store.last([user], 10_000)[0]]


def take(consumer, n):
    """Steps until the consumer has handled n entries: how many come at a time is the stream's matter."""
    deadline = time.monotonic() + 30
    while consumer.kept + consumer.rejected < n:
        consumer.step()
        assert time.monotonic() < deadline
    return consumer


def test_entries_become_events_with_the_entrys_id_and_time(stream, store):
    before = int(time.time())
    first = stream.add(user_id="7", item_id="né人")
    stream.add(user_id="7", item_id="b", event_id="mine", timestamp=5, event="buy")
    take(stream.consumer(store), 2)
    mine, other = store.last(["7"], 9)[0]
    assert (mine.event_id, mine.item_id, mine.timestamp, mine.event) == ("mine", "b", 5, "buy")
    assert (other.event_id, other.item_id) == (first, "né人") and before <= other.timestamp <= time.time()
    assert stream.pending() == 0


def test_numbers_of_an_entry_are_read_and_empty_ones_are_none(redis, store):
    stream = streams.RedisEvents(redis)
    stream.add(user_id="7", item_id="a", event="click", answer="x", place="2", dwell="1.5", value="")
    stream.add(user_id="7", event="search", query="red shoes")
    stream.add(user_id="7", item_id="b", place="first")
    stream.add(user_id="7", item_id="b", dwell="nan")
    take(stream.consumer(store), 4)
    click, search = store.last(["7"], 9)[0]
    assert click[4:] == ("click", "x", 2, 1.5, None, "") and search[4:] == ("search", "", None, None, None, "red shoes")
    reasons = [reason for _, reason in stream.aside()]
    assert "`place` must be a whole number" in reasons[0] and "`dwell` must be a finite number" in reasons[1]


def test_what_is_no_event_is_put_aside_with_the_reason(stream, store):
    stream.add(user_id="7", item_id="a")
    bad = stream.add(user_id="7", item_id="b", timestamp="soon")
    stream.add(user_id="7")
    stream.add(user_id="7", item_id="c")
    consumer = take(stream.consumer(store), 4)
    assert items(store) == ["a", "c"] and stream.pending() == 0 and (consumer.kept, consumer.rejected) == (2, 2)
    first, second = sorted(stream.aside())
    assert first[0] == bad and "`timestamp`" in first[1] and "needs `item_id`" in second[1]


def test_a_name_in_an_entry_begins_no_line_of_the_log(stream, store, caplog):
    stream.add(**{"x\nERROR forged": "1", "y\u2028z": "1", "user_id": "7", "item_id": "a"})
    take(stream.consumer(store), 1)
    said = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 1 and len(said[0].getMessage().splitlines()) == 1


def test_bytes_that_are_no_text_are_put_aside_as_they_came(redis, store, caplog):
    for fields in ({b"user_id": b"\xff\xfe", b"item_id": b"x"}, {b"\xff": b"1", b"user_id": b"7", b"item_id": b"b"}):
        redis.client.xadd("events", fields)
    stream = streams.RedisEvents(redis)
    stream.add(user_id="7", item_id="a")
    take(stream.consumer(store), 3)
    assert items(store) == ["a"] and stream.pending() == 0
    aside = [fields for _, fields in redis.client.xrange("events:rejected")]
    assert aside[0][b"user_id"] == b"\xff\xfe" and aside[1][b"\xff"] == b"1"
    assert b"must be text that UTF-8 can write" in aside[0][b"reason"] and b"has no `\\udcff`" in aside[1][b"reason"]
    assert "\\udcff" in caplog.text.encode().decode()  # a log file takes it


def test_messages_that_are_no_json_objects_are_put_aside_as_they_came(topic, store):
    values = [b"\xff", b"[1]", None, b"", b"[" * 100_000, b'{"user_id": 7, "item_id": "\\ud800"}']
    for value in values:
        topic.send(value, b"key")
    topic.add(user_id=7, item_id="a")
    take(topic.consumer(store), 7)
    assert items(store) == ["a"] and topic.pending() == 0
    aside = {dict(message.headers())["entry"].decode(): message for message in topic.rejected()}
    assert [aside[f"{topic.name}-0-{n}"].value() for n in range(6)] == values
    assert {message.key() for message in aside.values()} == {b"key"}
    reasons = [dict(aside[f"{topic.name}-0-{n}"].headers())["reason"].decode() for n in range(6)]
    assert all("must be a JSON object" in reason for reason in reasons[:5]) and "surrogate" in reasons[5]


def test_a_message_is_not_lost_if_the_client_fails_after_it(topic, store):
    class Failing:
        """The client, whose first `consume` fails."""

        def __init__(self, client):
            self.client, self.fails = client, True

        def __getattr__(self, name):
            return getattr(self.client, name)

        def consume(self, *args):
            if self.fails:
                self.fails = False
                raise kafka_client.kafka.KafkaException(kafka_client.kafka.KafkaError(-195))
            return self.client.consume(*args)

    topic.add(user_id="7", item_id="a")
    topic.add(user_id="7", item_id="b")
    consumer = topic.consumer(store)
    consumer._stream._consumer = Failing(consumer._stream._consumer)
    with pytest.raises(StoreError):
        take(consumer, 2)
    take(consumer, 2)
    assert items(store) == ["a", "b"] and topic.pending() == 0


def test_what_was_taken_and_not_finished_is_taken_again_by_the_same_name(stream, store):
    for n in range(5):
        stream.add(user_id="7", item_id=str(n))
    stream.abandon(3)  # a consumer that died before it wrote
    consumer = stream.consumer(store, batch=2)
    found = []
    while sum(found) < 5:
        found.append(consumer.step())
    assert max(found) <= 2 and items(store) == ["0", "1", "2", "3", "4"] and stream.pending() == 0


def test_a_consumer_that_dies_between_the_store_and_the_commit_counts_nothing_twice(stream, store, tmp_path):
    first = stream.add(user_id="7", item_id="a", timestamp=1)  # its id is the entry's
    for n in (2, 3):  # sent twice by the producer
        stream.add(user_id="7", item_id="b", event_id="mine", timestamp=n)
    arguments = [stream.address, "--store", f"sqlite:{tmp_path}/store.db", *stream.arguments]
    for _ in range(2):  # the second one dies when it has stored them again
        assert Forked("tests.online.victims:consume", *arguments, quiet=True).wait(60) == -signal.SIGKILL
        found = [e.event_id for e in store.last(["7"], 9)[0]]  # Kafka may bring fewer than there are
        assert found and found == [first, "mine"][:len(found)] and stream.pending() > 0
    take(stream.consumer(store), 3)
    stream.add(user_id="7", item_id="c", timestamp=4)
    take(stream.consumer(store), 1)
    assert items(store) == ["a", "b", "c"] and stream.pending() == 0


def test_what_another_abandoned_is_taken_over(redis, store, monkeypatch):
    stream = streams.RedisEvents(redis)
    stream.add(user_id="7", item_id="a")
    redis.client.xgroup_create("events", "twotower", "0")
    redis.client.xreadgroup("twotower", "dead", {"events": ">"})
    monkeypatch.setattr(redis_stream, "_WAIT_MILLISECONDS", 10)
    consumer = stream.consumer(store)
    assert consumer.step() == 0 and items(store) == []  # it may be at work still
    monkeypatch.setattr(redis_stream, "_ABANDONED_MILLISECONDS", 0)
    assert consumer.step() == 1 and items(store) == ["a"] and stream.pending() == 0


@pytest.mark.parametrize("kind", ["redis", "kafka"])
def test_two_consumers_share_a_group(kind, request, store, monkeypatch):
    monkeypatch.setattr(kafka_topic, "_WAIT_SECONDS", 0.05)
    for stream in opened(kind, request.getfixturevalue(kind), partitions=2):
        consumers = [stream.consumer(store, name, batch=5) for name in "12"]
        stream.ready(consumers)
        for n in range(20):
            stream.add(user_id="7", item_id=f"{n:02}")
        while sum(consumer.kept for consumer in consumers) < 20:
            for consumer in consumers:
                consumer.step()
        assert [consumer.kept for consumer in consumers] == [10, 10]
        assert sorted(items(store)) == [f"{n:02}" for n in range(20)] and stream.pending() == 0


def test_a_store_that_fails_for_a_while_loses_nothing(stream, store, monkeypatch):
    append, failures = store.append, iter([True, True, False])

    def sometimes(events):
        if next(failures, False):
            raise StoreError("The disk is full.")
        return append(events)

    monkeypatch.setattr(store, "append", sometimes)
    monkeypatch.setattr(stream_consumer, "_RETRY_SECONDS", 0.01)
    stream.add(user_id="7", item_id="a")
    run_until(stream.consumer(store), lambda: items(store) == ["a"] and not stream.pending())


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


@pytest.mark.parametrize("kind", ["redis", "kafka"])
def test_a_server_that_dies_comes_back_and_the_consumer_goes_on(kind, kafka, store, monkeypatch, caplog):
    monkeypatch.setattr(stream_consumer, "_RETRY_SECONDS", 0.05)
    running, events = streams.KINDS[kind]
    with running() as server:
        stream = events(server)
        stream.add(user_id="7", item_id="a")
        stop, consumer = threading.Event(), stream.consumer(store)
        thread = threading.Thread(target=consumer.run, args=(stop,))
        thread.start()
        try:
            wait_for(lambda: items(store) == ["a"])
            server.kill()
            if kind == "redis":  # Kafka's client connects again by itself, and may say nothing of it
                wait_for(lambda: "Trying again" in caplog.text)
            server.start()
            stream.add(user_id="7", item_id="b")
            wait_for(lambda: items(store) == ["a", "b"])
        finally:
            stop.set()
            thread.join()


def test_a_key_that_is_no_stream_is_refused(redis, store):
    redis.client.set("events", "text")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        streams.RedisEvents(redis).consumer(store)


@pytest.mark.parametrize("address, says", [
    ("kafka://localhost:9092", "`address` must be kafka://HOST:PORT"),
    ("kafka://me:secret@localhost:9092/events", "Name and password belong in the file"),
    ("kafka://localhost:9092/a/b", "`address` must be"),
    ("amqp://localhost/events", "the URL of a Redis server"),
])
def test_an_address_of_another_form_is_refused_without_its_password(address, says):
    with pytest.raises(StoreError, match=says) as refused:
        open_stream(address)
    assert "secret" not in str(refused.value)


def test_a_topic_stands_in_the_address():
    with pytest.raises(StoreError, match="`stream` must be left out"):
        open_stream("kafka://localhost:9092/events", "events")


def test_settings_of_kafka_are_lines_and_a_wrong_one_is_named(tmp_path, monkeypatch):
    path = tmp_path / "settings"
    monkeypatch.setenv("TWOTOWER_KAFKA_CONFIG", str(path))
    path.write_text("# a comment\n\nsasl.password=a=b\n security.protocol = SASL_SSL \n")
    assert kafka_client.read_settings() == {"sasl.password": "a=b", "security.protocol": "SASL_SSL"}
    path.write_text("compression.type=gzip\nhunter2\n")
    with pytest.raises(StoreError, match="Line 2 of .* has no `=`") as refused:
        kafka_client.read_settings()
    assert "hunter2" not in str(refused.value)
    path.write_text("sesion.timeout.ms=5\n")
    with pytest.raises(StoreError, match='No such configuration property: "sesion.timeout.ms"'):
        open_stream("kafka://localhost:9092/events")


@pytest.mark.parametrize("kind, engine", [("redis", "sqlite"), ("redis", "redis"), ("kafka", "sqlite")])
def test_consumers_killed_again_and_again_lose_nothing_and_count_nothing_twice(kind, engine, request, tmp_path):
    """Real processes, SIGKILL at random moments, entries that arrive meanwhile, some of them sent twice."""
    stream = streams.KINDS[kind][1](request.getfixturevalue(kind))
    address = f"sqlite:{tmp_path}/store.db" if engine == "sqlite" else stream.address
    command = ["consume", stream.address, "--store", address, "--batch", 7, *stream.arguments]
    rng, total = random.Random(0), 300 if kind == "redis" else 120
    stores = open_stores(address)
    written = 0
    for turn in range(60):
        if written == total and not stream.pending() and len(items(stores.history)) >= total:
            break
        process = twotower(*command)
        assert process.stdout.readline().startswith(f"Consuming {stream.name} as 1 of {stream.group} into")
        for _ in range(rng.randrange(1, 80)):
            if written < total:
                for _ in range(rng.choice([1, 1, 2])):
                    stream.add(user_id="7", item_id=f"i{written}", event_id=f"e{written}",
                               timestamp=1 + written)
                written += 1
        if kind == "kafka":  # a killed member keeps its partition until its session ends
            kept = len(items(stores.history))
            wait_for(lambda: kept == written or len(items(stores.history)) > kept)
            time.sleep(rng.random() * 0.02)
        else:
            time.sleep(rng.random() * 0.05 * turn)  # longer and longer, so that a slow machine comes to the end too
        process.kill()
        process.wait()
    assert items(stores.history) == [f"i{n}" for n in range(total)]
    stores.close()


def test_sigterm_ends_a_consumer_well(stream, tmp_path):
    store = f"sqlite:{tmp_path}/s.db"
    with twotower("consume", stream.address, "--store", store, *stream.arguments) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0 and process.stderr.read() == ""
        assert process.stdout.read() == "Took 0 events in, put 0 entries aside\n"


def test_the_command_refuses_in_one_line(tmp_path, capsys, redis):
    redis.client.set("events", "text")
    assert main(["consume", redis.url, "--store", f"sqlite:{tmp_path}/s.db"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"twotower: The Redis server at {redis.url} fails") and err.count("\n") == 1


@pytest.mark.parametrize("kind", ["redis", "kafka"])
def test_the_command_starts_before_the_server_and_consumes_when_it_is_there(kind, kafka, tmp_path):
    """The stream's server starts last. That of Redis is the store, too."""
    with streams.KINDS[kind][0]() as server:
        stream = streams.KINDS[kind][1](server)
        server.kill()
        address = stream.address if kind == "redis" else f"sqlite:{tmp_path}/s.db"
        process = twotower("consume", stream.address, "--store", address, *stream.arguments)
        try:
            assert "Consuming" in process.stdout.readline()
            assert "fails" in process.stderr.readline()
            server.start()
            stream.add(user_id="7", item_id="a")
            store = open_stores(address).history
            wait_for(lambda: items(store) == ["a"])
            store.close()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            process.stdout.close()
            process.stderr.close()
