"""The Kafka client: addresses, settings, and messages that have to arrive."""

import logging
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from tfrs_twotower import extras
from tfrs_twotower.errors import invalid
from tfrs_twotower.online.store_kind import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

kafka = extras.require("confluent_kafka")

SCHEME = "kafka://"
SETTINGS = "TWOTOWER_KAFKA_CONFIG"  # the environment variable that names a file of librdkafka's settings
_ADDRESS = re.compile(r"kafka://([^/@\s]+)/([A-Za-z0-9._-]{1,240})")
_client_log = logging.getLogger(f"{__name__}.librdkafka")  # its errors come by `error_cb` too
_client_log.setLevel(logging.CRITICAL)


class Message(NamedTuple):
    """What `Sender` sends."""

    value: bytes | None
    key: bytes | None = None
    headers: dict[str, str] = {}


class Sender:
    """Sends messages to topics of a cluster. Threads may share one. It connects when the first message is sent.

    Args:
      servers: `HOST:PORT,HOST:PORT`.
      seconds: the time that messages have to arrive.
    """

    def __init__(self, servers: str, seconds: float) -> None:
        self._servers, self._seconds = servers, seconds
        self._producer: Any = None

    def send(self, topic: str, messages: Iterable[Message]) -> None:
        """Sends messages; all replicas that are in step have them when it returns.

        Raises:
          StoreUnavailable: the brokers do not take one of them. Others may have arrived.
        """
        errors: "list[KafkaError | None]" = []
        producer = self._made()
        try:
            for message in messages:
                producer.produce(topic, message.value, message.key, headers=message.headers,
                                 on_delivery=lambda error, message: errors.append(error))
            late = producer.flush(2 * self._seconds)  # they fail before
        except (kafka.KafkaException, BufferError) as error:
            raise StoreUnavailable(f"The Kafka topic {topic} takes no messages: {error}.") from error
        failed = [error for error in errors if error is not None]
        if late or failed:
            reason = failed[0].str() if failed else "no answer"
            raise StoreUnavailable(f"The Kafka topic {topic} at {self._servers} takes no messages: {reason}. Make the "
                                   "topic, or allow this client to write to it.")

    def check(self, topic: str) -> None:
        """Raises `StoreUnavailable` if no broker answers."""
        try:
            self._made().list_topics(topic, timeout=1.0)
        except kafka.KafkaException as error:
            raise StoreUnavailable(f"No Kafka broker answers at {self._servers}: {error.args[0].str()}.") from error

    def _made(self) -> Any:
        if self._producer is None:
            settings = {"acks": "all", "linger.ms": 1, "message.timeout.ms": int(1000 * self._seconds),
                        "bootstrap.servers": self._servers}
            self._producer = client(kafka.Producer, settings)
        return self._producer


def client(kind: Any, settings: dict[str, Any]) -> Any:
    """A `confluent_kafka.Producer` or `Consumer`, with the settings of `read_settings` and then these.

    Raises:
      StoreError: a setting is wrong.
    """
    try:
        return kind({**read_settings(), "logger": _client_log, **settings})
    except (kafka.KafkaException, ValueError, TypeError) as error:
        reason = error.args[0].str() if isinstance(error, kafka.KafkaException) else error
        raise StoreError(f"The Kafka client refuses its settings: {reason}. Correct the address, or the file that "
                         f"{SETTINGS} names.") from error


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
