"""Answers and impressions as messages of Kafka topics."""

import json
import time
from collections.abc import Sequence

from tfrs_twotower.online.answer_log import Answer, Impression
from tfrs_twotower.online.kafka_client import Message, Sender, split
from tfrs_twotower.online.store_kind import StoreUnavailable

_SEND_SECONDS = 1.0  # for answers to reach the brokers: their requests wait
_PAUSE_SECONDS = 5.0


class KafkaAnswers:
    """Sends answers to a topic, and impressions to the topic `<topic>.seen`, in place of an `AnswerLog`.

    A message is a JSON object with the attributes of `Answer` or `Impression`. Its key is the user's id, or that of the
    answer.

    A call waits at most a second for the brokers. After a failure, calls fail at once for five seconds.

    Args:
      address: `kafka://HOST:PORT,HOST:PORT/TOPIC`.

    Raises:
      StoreError: the address is wrong.
    """

    def __init__(self, address: str) -> None:
        servers, self._topic = split(address)
        self._sender = Sender(servers, _SEND_SECONDS)
        self._failure, self._until = "", 0.0  # the last one, and when it is tried again

    def record(self, answers: Sequence[Answer]) -> None:
        """Sends answers; the brokers have them when it returns. Raises `StoreUnavailable`."""
        self._send(self._topic, [
            Message(json.dumps(answer._asdict()).encode(), answer.user_id.encode(errors="replace"))
            for answer in answers
        ])

    def saw(self, impressions: Sequence[Impression]) -> None:
        """Sends impressions; the brokers have them when it returns. Raises `StoreUnavailable`."""
        self._send(f"{self._topic}.seen", [
            Message(json.dumps(seen._asdict()).encode(), seen.answer_id.encode()) for seen in impressions
        ])

    def check(self) -> None:
        """Raises `StoreUnavailable` if no broker answers."""
        self._sender.check(self._topic)

    def close(self) -> None:
        """Nothing waits: each message was sent."""

    def _send(self, topic: str, messages: list[Message]) -> None:
        if time.monotonic() < self._until:
            raise StoreUnavailable(self._failure)
        try:
            self._sender.send(topic, messages)
        except StoreUnavailable as error:
            self._failure, self._until = str(error), time.monotonic() + _PAUSE_SECONDS
            raise
