"""Answers and impressions as messages of topics, and what happens while no broker takes them."""

import json
import time

import confluent_kafka
import kafka_cluster
import pytest

from tfrs_twotower.online import Answer, Impression, StoreUnavailable, kafka_answers
from tfrs_twotower.online.kafka_answers import KafkaAnswers

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
    with kafka_cluster.running() as server:
        log = KafkaAnswers(f"kafka://{server.servers}/answers")
        server.kill()
        with pytest.raises(StoreUnavailable, match="takes no messages: "):
            log.record([ANSWER])
        start = time.monotonic()
        with pytest.raises(StoreUnavailable, match="takes no messages: "):
            log.saw([])
        assert time.monotonic() - start < 0.1  # requests do not wait for brokers that just failed
        with pytest.raises(StoreUnavailable, match="No Kafka broker answers"):
            log.check()
