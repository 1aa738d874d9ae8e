"""Answers and impressions as messages of topics, what happens while no broker takes them, and topics as folders."""

import json
import time

import confluent_kafka
import kafka_cluster
import pytest
from forked import twotower

from tfrs_twotower.cli.main import main
from tfrs_twotower.online import (
    Answer,
    AnswerLog,
    Impression,
    StoreUnavailable,
    answer_stream,
    kafka_answers,
    new_answer_id,
    open_stores,
    read_answers,
    read_seen,
    row_log,
)
from tfrs_twotower.online.answer_stream import answers_into, impressions_into
from tfrs_twotower.online.feedback import feedback
from tfrs_twotower.online.kafka_answers import KafkaAnswers
from tfrs_twotower.online.kafka_client import Message, Sender
from tfrs_twotower.online.stream_consumer import Entry

ANSWER = Answer("a1", "né", 5, 2, "b", {"k": 2}, {"age": None}, [("x", "u2i", 0.5)])


def messages(servers, topic):
    settings = {"bootstrap.servers": servers, "group.id": topic, "auto.offset.reset": "earliest"}
    client = confluent_kafka.Consumer(settings)
    client.subscribe([topic])
    message = client.poll(20)
    client.close()
    return message.key(), json.loads(message.value())


def test_answers_and_impressions_are_messages(kafka):
    kafka.make("answers")
    kafka.make("answers.seen")
    log = KafkaAnswers(f"kafka://{kafka.servers}/answers")
    log.check()
    log.record([ANSWER])
    log.saw([Impression("s1", "a1", 6, [0], [1])])
    assert messages(kafka.servers, "answers") == ("né".encode(), {
        "answer_id": "a1", "user_id": "né", "timestamp": 5, "version": 2, "arm": "b", "context": {"k": 2},
        "features": {"age": None}, "items": [["x", "u2i", 0.5]]})
    key, seen = messages(kafka.servers, "answers.seen")
    assert key == b"a1" and seen["places"] == [0] and seen["dropped"] == [1]
    log.close()


def test_while_no_broker_takes_them_it_is_said(kafka, monkeypatch):
    monkeypatch.setattr(kafka_answers, "_SEND_SECONDS", 0.3)
    monkeypatch.setattr(kafka_answers, "_PAUSE_SECONDS", 60.0)
    with kafka_cluster.running() as server:
        log = KafkaAnswers(f"kafka://{server.servers}/answers")
        server.kill()
        with pytest.raises(StoreUnavailable, match="takes no messages: "):
            log.record([ANSWER])
        monkeypatch.setattr(log._sender, "send", None)  # requests do not wait for brokers that just failed
        with pytest.raises(StoreUnavailable, match="takes no messages: "):
            log.saw([])
        with pytest.raises(StoreUnavailable, match="No Kafka broker answers"):
            log.check()


def test_topics_alone_say_what_was_shown_and_chosen(kafka, tmp_path):
    """A server sends answers and impressions, a producer a click; consumers keep all of it, and a bad message aside."""
    for topic in ("shown", "shown.seen", "shown.rejected", "done"):
        kafka.make(topic)
    address, now = f"kafka://{kafka.servers}", int(time.time()) - 9000
    names, log = [new_answer_id(now + n) for n in range(2)], KafkaAnswers(f"{address}/shown")
    answers = [Answer(name, "u", now, 1, "", {}, {}, [(item, "u2i", 0.5) for item in "abc"]) for name in names]
    log.record(answers[:1])
    log.saw([Impression(new_answer_id(now), names[0], now + 5, [0, 2], [1])])
    sender = Sender(kafka.servers, 5.0)
    sender.send("shown", [Message(b'{"answer_id": 5}', b"")])
    log.record(answers)  # the first again; the second is the topic's last message, so who has it has all
    click = {"event_id": "e", "user_id": "u", "item_id": "c", "timestamp": now + 60, "event": "click"}
    sender.send("done", [Message(json.dumps(click).encode(), b"u")])
    store = f"sqlite:{tmp_path}/store.db"
    consumers = [twotower("consume", f"{address}/shown", "--log-requests", tmp_path / "logs" / "topic"),
                 twotower("consume", f"{address}/done", "--store", store)]
    consumers[0].stdout.readline(), consumers[1].stdout.readline()
    stores, deadline = open_stores(store), time.monotonic() + 60
    while not (stores.history.last(["u"], 1)[0] and len(read_seen(tmp_path / "logs"))
               and len(read_answers(tmp_path / "logs")) == 2):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for consumer in consumers:
        consumer.terminate()
    said = [consumer.communicate(timeout=60)[0] for consumer in consumers]
    assert said[0] == "Took 3 answers and 1 impressions in, put 1 entries aside\n"
    kept = [row for table in feedback(stores.history, [str(tmp_path / "logs")], now, now + 4000)
            for row in table.to_pylist()]
    stores.close()
    assert {(row["event_id"], row["answer"]) for row in kept} == {
        ("e", names[1]), (f"shown:{names[0]}:0", names[0]), (f"drop:{names[0]}:1", names[0]),
        (f"shown:{names[1]}:0", names[1]), (f"shown:{names[1]}:1", names[1])}


@pytest.mark.parametrize("wrong", [
    {"answer_id": "a1"}, {"user_id": None}, {"user_id": "\ud800"}, {"timestamp": 2**63}, {"timestamp": True},
    {"version": "1"}, {"context": []}, {"items": [["x", "u2i"]]}, {"items": [[5, "u2i", 1.0]]}, {"items": None},
    {"timestamp": -1}, {"timestamp": 253_402_300_800}, {"items": [["x", "u2i", 2**60]]},  # none can be read
])
def test_what_no_server_sends_is_put_aside(tmp_path, wrong):
    log, good = AnswerLog(tmp_path), {**ANSWER._asdict(), "answer_id": "a" * 32, "items": [["x", "u2i", 0.5]]}
    entries = [Entry(str(n), None, fields, None) for n, fields in enumerate([good, {**good, **wrong}])]
    entries.append(Entry("2", None, {}, None, "bad"))
    found = answers_into(log)(entries)
    assert [entry.id for entry, _ in found] == ["1", "2"] and f"Answer.{[*wrong][0]}. Received" in found[0][1]
    seen = {"seen_id": "b" * 32, "answer_id": "a" * 32, "timestamp": 6, "places": [0], "dropped": []}
    bad = [{**seen, "places": [-1]}, {**seen, "dropped": [2**31]}, {**seen, "seen_id": ""},
           {**seen, "timestamp": -1}]
    found = impressions_into(log)([Entry(str(n), None, fields, None) for n, fields in enumerate([seen, *bad])])
    assert [entry.id for entry, _ in found] == ["1", "2", "3", "4"]
    log.close()
    assert read_answers(tmp_path)["answer_id"].to_pylist() == ["a" * 32] and len(read_seen(tmp_path)) == 1


def test_more_than_a_log_lets_wait_is_kept_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(row_log, "_WAITING", 1000)  # characters, of some ten answers
    monkeypatch.setattr(answer_stream, "_PART", 5)
    log, good = AnswerLog(tmp_path), {**ANSWER._asdict(), "items": [["x", "u2i", 0.5]]}
    entries = [Entry(str(n), None, {**good, "answer_id": f"{n:032x}"}, None) for n in range(100)]
    assert answers_into(log)(entries) == []
    log.close()
    assert len(read_answers(tmp_path)) == 100


def test_a_consumer_keeps_events_or_answers(tmp_path, capsys):
    for command in (["kafka://localhost:9092/a"], ["kafka://localhost:9092/a", "--store", "sqlite:s", "--log-requests",
                                                   "log"]):
        assert main(["consume", *command]) == 1
        assert "Name one of them." in capsys.readouterr().err
    assert main(["consume", "redis://localhost:6379/0", "--log-requests", str(tmp_path / "log")]) == 1
    assert "`ADDRESS` must be a topic if --log-requests is given" in capsys.readouterr().err
