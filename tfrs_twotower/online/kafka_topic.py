"""A Kafka topic, as one consumer of a group reads it."""

import json
import logging
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfrs_twotower import extras
from tfrs_twotower.errors import invalid
from tfrs_twotower.online.store_kind import StoreError, StoreUnavailable
from tfrs_twotower.online.stream_consumer import Entry

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

kafka = extras.require("confluent_kafka")

SCHEME = "kafka://"
SETTINGS = "TWOTOWER_KAFKA_CONFIG"  # the environment variable that names a file of librdkafka's settings
_ADDRESS = re.compile(r"kafka://([^/@\s]+)/([A-Za-z0-9._-]{1,240})")
_WAIT_SECONDS = 1.0  # for new messages: the longest time that a stop takes
_SEND_SECONDS = 10.0  # for rejected messages to reach the brokers
_LONGEST = 900_000  # bytes of a rejected message that are put aside: it gets headers, and brokers take 1 MB by default
_NOTE_SECONDS = 10  # between looks for topics and partitions that are new
_log = logging.getLogger(__name__)
_client_log = logging.getLogger(f"{__name__}.client")  # librdkafka's own; errors come by `error_cb` too
_client_log.setLevel(logging.CRITICAL)


class KafkaTopic:
    """A `Stream` of JSON objects in a Kafka topic.

    An entry's id is `topic-partition-offset`. Offsets are committed by `finish` alone. Kafka gives the partitions of a
    dead consumer to the others of its group when its session ends (`session.timeout.ms`, 45 s by default). A rejected
    message goes to the topic `<topic>.rejected` as it came, with the headers `entry` and `reason`. If a consumer is
    killed between the two, it goes there twice.

    Settings of librdkafka, such as passwords, are in the file that the environment variable TWOTOWER_KAFKA_CONFIG
    names: see `read_settings`.

    Args:
      address: `kafka://HOST:PORT,HOST:PORT/TOPIC`.
      group: the group's name; a new group starts at the topic's first message.
      member: the consumer's name in the broker's logs.
      batch: messages taken at a time.

    Raises:
      StoreError: the address or a setting is wrong. While no broker answers, `take` raises `StoreUnavailable`.
    """

    def __init__(self, address: str, group: str = "twotower", member: str = "1", batch: int = 500) -> None:
        self._servers, self.name = split(address)
        self._address, self._batch = address, batch
        self._failure: "KafkaError | None" = None
        common = {**read_settings(), "bootstrap.servers": self._servers, "client.id": f"{group}-{member}"}
        self._common = {**common, "error_cb": self._failed, "logger": _client_log}
        self._consumer = self._client(kafka.Consumer, {
            "auto.offset.reset": "earliest", "topic.metadata.refresh.interval.ms": _NOTE_SECONDS * 1000, **self._common,
            "group.id": group, "enable.auto.commit": False, "enable.auto.offset.store": False,
        })
        self._producer: Any = None  # made for the first rejected message
        self._taken: dict[int, int] = {}  # partition: the offset of its first message that is not finished
        self._consumer.subscribe([self.name])

    def take(self) -> list[Entry]:
        """See `Stream`."""
        try:
            first = self._consumer.poll(_WAIT_SECONDS)
            more = self._consumer.consume(self._batch - 1, 0) if first is not None and self._batch > 1 else []
        except kafka.KafkaException as error:
            raise self._unavailable(error.args[0]) from error
        messages = [message for message in (first, *more) if message is not None]
        good = [message for message in messages if message.error() is None]
        for message in good:
            self._taken.setdefault(message.partition(), message.offset())
        if not good:
            failure = next((message.error() for message in messages), self._failure)
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
        if not rejected:
            return
        topic, errors = f"{self.name}.rejected", []
        self._producer = self._producer or self._client(kafka.Producer, {"acks": "all", **self._common})
        for entry, reason in rejected:
            value = entry.raw.value()
            self._producer.produce(
                topic, value and value[:_LONGEST], entry.raw.key(), headers={"entry": entry.id, "reason": reason},
                on_delivery=lambda error, message: errors.append(error),
            )
        late = self._producer.flush(_SEND_SECONDS)
        failed = [error for error in errors if error is not None]
        if late or failed:
            self._producer.purge()
            reason = failed[0].str() if failed else "no answer"
            raise StoreUnavailable(f"{len(rejected)} rejected entries cannot be put aside in the topic {topic} "
                                   f"({reason}). Make the topic, or allow this client to write to it.")

    def _places(self, offsets: dict[int, int]) -> list[Any]:
        return [kafka.TopicPartition(self.name, partition, offset) for partition, offset in offsets.items()]

    def _client(self, kind: Any, settings: dict[str, Any]) -> Any:
        try:
            return kind(settings)
        except (kafka.KafkaException, ValueError, TypeError) as error:
            reason = error.args[0].str() if isinstance(error, kafka.KafkaException) else error
            raise StoreError(f"The Kafka client refuses its settings: {reason}. Correct the address, or the file that "
                             f"{SETTINGS} names.") from error

    def _failed(self, error: "KafkaError") -> None:
        if error.code() != kafka.KafkaError._TRANSPORT:  # of one broker: the client asks the others
            self._failure = error

    def _unavailable(self, error: "KafkaError") -> StoreUnavailable:
        return StoreUnavailable(f"The Kafka topic at {self._address} fails: {error.str()}.")


def split(address: str) -> tuple[str, str]:
    """(servers, topic) of `kafka://HOST:PORT,HOST:PORT/TOPIC`. Raises `StoreError`."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        hint = f"Name and password belong in the file that {SETTINGS} names." if "@" in address else \
            "Write for example kafka://localhost:9092/events"
        shown = SCHEME + address.removeprefix(SCHEME).rpartition("@")[2]
        raise StoreError(invalid("address", "be kafka://HOST:PORT[,HOST:PORT]/TOPIC", shown, hint))
    return found[1], found[2]


def read_settings() -> dict[str, str]:
    """librdkafka's settings in the file that TWOTOWER_KAFKA_CONFIG names, one `name=value` a line; {} without it.

    For example `security.protocol=SASL_SSL`. Empty lines, and lines that begin with `#`, do not count.

    Raises:
      StoreError: the file cannot be read, or a line has no `=`.
    """
    path = os.environ.get(SETTINGS)
    if not path:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, ValueError) as error:
        raise StoreError(f"{SETTINGS} cannot be read: {error}. Name a file of lines `name=value`.") from error
    pairs = [(at, *line.partition("=")) for at, line in enumerate(lines, 1) if line and not line.startswith("#")]
    if bad := [at for at, _, sign, _ in pairs if not sign]:  # the line itself may be a password
        raise StoreError(f"Line {bad[0]} of {path} has no `=`. Write `name=value`.")
    return {name.strip(): value.strip() for _, name, _, value in pairs}


def _entry(message: "Message") -> Entry:
    entry_id = f"{message.topic()}-{message.partition()}-{message.offset()}"
    kind, milliseconds = message.timestamp()
    written = None if kind == kafka.TIMESTAMP_NOT_AVAILABLE else milliseconds // 1000
    try:
        fields = json.loads(message.value() or b"")
        reason = "" if isinstance(fields, dict) else f"It must be a JSON object. Received: a {type(fields).__name__}."
    except (ValueError, RecursionError) as error:
        fields, reason = {}, f"It must be a JSON object: {error}."
    return Entry(entry_id, written, {} if reason else fields, message, reason)
