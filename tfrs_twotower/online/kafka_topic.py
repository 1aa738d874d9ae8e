"""A Kafka topic, as one consumer of a group reads it."""

import json
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tfrs_twotower.online.kafka_client import Message, Sender, client, kafka, split
from tfrs_twotower.online.store_kind import StoreUnavailable
from tfrs_twotower.online.stream_consumer import Entry

if TYPE_CHECKING:
    import confluent_kafka

_WAIT_SECONDS = 1.0  # for new messages: the longest time that a stop takes
_SEND_SECONDS = 10.0  # for rejected messages to reach the brokers
_LONGEST = 900_000  # bytes of a rejected message that are put aside: it gets headers, and brokers take 1 MB by default
_NOTE_SECONDS = 10  # between looks for topics and partitions that are new
_log = logging.getLogger(__name__)


class KafkaTopic:
    """A `Stream` of JSON objects in a Kafka topic.

    An entry's id is `topic-partition-offset`. Offsets are committed by `finish` alone. Kafka gives the partitions of a
    dead consumer to the others of its group when its session ends (`session.timeout.ms`, 45 s by default). A rejected
    message goes to the topic `<topic>.rejected` as it came, with the headers `entry` and `reason`. If a consumer is
    killed between the two, it goes there twice.

    Settings of librdkafka, such as passwords, are in the file that the environment variable TWOTOWER_KAFKA_CONFIG
    names: see `kafka_client.read_settings`.

    Args:
      address: `kafka://HOST:PORT,HOST:PORT/TOPIC`.
      group: the group's name; a new group starts at the topic's first message.
      member: the consumer's name in the broker's logs.
      batch: messages taken at a time.

    Raises:
      StoreError: the address or a setting is wrong. While no broker answers, `take` raises `StoreUnavailable`.
    """

    def __init__(self, address: str, group: str = "twotower", member: str = "1", batch: int = 500) -> None:
        servers, self.name = split(address)
        self._address, self._batch = address, batch
        self._failure: "confluent_kafka.KafkaError | None" = None
        self._sender = Sender(servers, _SEND_SECONDS)
        self._consumer = client(kafka.Consumer, {
            "bootstrap.servers": servers, "client.id": f"{group}-{member}", "group.id": group,
            "auto.offset.reset": "earliest", "enable.auto.commit": False, "enable.auto.offset.store": False,
            "topic.metadata.refresh.interval.ms": _NOTE_SECONDS * 1000, "error_cb": self._failed,
        })
        self._taken: dict[int, int] = {}  # partition: the offset of its first message that is not finished
        self._consumer.subscribe([self.name])

    def take(self) -> list[Entry]:
        """See `Stream`."""
        good, bad = [], []

        def sort(messages: Iterable[Any]) -> None:  # at once: if the next call fails, these are taken
            for message in messages:
                (good if message.error() is None else bad).append(message)
                if message.error() is None:
                    self._taken.setdefault(message.partition(), message.offset())

        try:
            sort(message for message in [self._consumer.poll(_WAIT_SECONDS)] if message is not None)
            if good and self._batch > 1:
                sort(self._consumer.consume(self._batch - 1, 0))
        except kafka.KafkaException as error:
            raise self._unavailable(error.args[0]) from error
        if not good:
            failure = next((message.error() for message in bad), self._failure)
            self._failure = None
            if failure is not None:
                raise self._unavailable(failure)
        return [_entry(message) for message in good]

    def finish(self, entries: Sequence[Entry], rejected: Sequence[tuple[Entry, str]]) -> None:
        """See `Stream`."""
        self._put_aside(rejected)
        offsets: dict[int, int] = {}
        for entry in entries:
            partition = entry.raw.partition()
            offsets[partition] = max(offsets.get(partition, 0), entry.raw.offset() + 1)
        try:
            done = self._consumer.commit(offsets=self._places(offsets), asynchronous=False)
        except kafka.KafkaException as error:
            raise self._unavailable(error.args[0]) from error
        for place in done:
            if place.error is not None:
                raise self._unavailable(place.error)
        self._taken.clear()

    def start_over(self) -> None:
        """See `Stream`. Partitions that went to another consumer are read there."""
        for place in self._places(self._taken):
            try:
                self._consumer.seek(place)
            except kafka.KafkaException as error:
                _log.info("Partition %d of %s is not read again here: %s", place.partition, self.name, error)
        self._taken.clear()

    def close(self) -> None:
        """See `Stream`: leaves the group."""
        self._consumer.close()

    def _put_aside(self, rejected: Sequence[tuple[Entry, str]]) -> None:
        messages = [
            Message(entry.raw.value() and entry.raw.value()[:_LONGEST], entry.raw.key(),
                    {"entry": entry.id, "reason": reason})
            for entry, reason in rejected
        ]
        if messages:
            self._sender.send(f"{self.name}.rejected", messages)

    def _places(self, offsets: dict[int, int]) -> list[Any]:
        return [kafka.TopicPartition(self.name, partition, offset) for partition, offset in offsets.items()]

    def _failed(self, error: "confluent_kafka.KafkaError") -> None:
        if error.code() != kafka.KafkaError._TRANSPORT:  # of one broker: the client asks the others
            self._failure = error

    def _unavailable(self, error: "confluent_kafka.KafkaError") -> StoreUnavailable:
        return StoreUnavailable(f"The Kafka topic at {self._address} fails: {error.str()}.")


def _entry(message: "confluent_kafka.Message") -> Entry:
    entry_id = f"{message.topic()}-{message.partition()}-{message.offset()}"
    kind, milliseconds = message.timestamp()
    written = None if kind == kafka.TIMESTAMP_NOT_AVAILABLE else milliseconds // 1000
    try:
        fields = json.loads(message.value() or b"")
        reason = "" if isinstance(fields, dict) else f"It must be a JSON object. Received: a {type(fields).__name__}."
    except (ValueError, RecursionError) as error:
        fields, reason = {}, f"It must be a JSON object: {error}."
    return Entry(entry_id, written, {} if reason else fields, message, reason)
