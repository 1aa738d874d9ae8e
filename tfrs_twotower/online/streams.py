"""Opens a stream by its address."""

from tfrs_twotower.errors import invalid
from tfrs_twotower.online.store_kind import REDIS, StoreError
from tfrs_twotower.online.stream_consumer import Stream

_KAFKA = "kafka://"


def open_stream(
    address: str, stream: str | None = None, group: str = "twotower", member: str = "1", batch: int = 500
) -> Stream:
    """The `Stream` at `kafka://HOST:PORT/TOPIC`, or in the Redis server of a URL under the key `stream` ("events").

    Raises:
      StoreError: the address is neither, or is refused: see `KafkaTopic` and `RedisStream`.
      MissingExtraError: confluent-kafka or redis is not installed.
    """
    if address.startswith(_KAFKA):
        if stream is not None:
            way_out = "Write kafka://HOST:PORT/TOPIC."
            raise StoreError(invalid("stream", "be left out: the topic stands in the address", stream, way_out))
        from tfrs_twotower.online.kafka_topic import KafkaTopic

        return KafkaTopic(address, group, member, batch)
    if address.startswith(REDIS):
        from tfrs_twotower.online.redis_stream import RedisStream

        return RedisStream(address, stream or "events", group, member, batch)
    rule = "be kafka://HOST:PORT/TOPIC or the URL of a Redis server"
    raise StoreError(invalid("address", rule, address, "Write for example redis://localhost:6379/0"))
