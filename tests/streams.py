"""The streams that a `StreamConsumer` reads, as the tests write to them: the same methods for Redis and Kafka."""

import contextlib
import json
import uuid

import kafka_cluster
import redis_server

from tfrs_twotower.online.stream_consumer import StreamConsumer, events_into
from tfrs_twotower.online.streams import open_stream


class RedisEvents:
    """The stream `events` of a `RedisServer`."""

    def __init__(self, server, partitions=1):
        self.server, self.address, self.arguments = server, server.url, []
        self.name, self.group = "events", "twotower"

    def add(self, **fields):
        """Adds an entry; returns its id."""
        return self.server.client.xadd(self.name, fields).decode()

    def consumer(self, store, name="1", batch=500):
        return StreamConsumer(open_stream(self.address, None, self.group, name, batch), events_into(store))

    def ready(self, consumers):
        """Waits until each consumer has its part of the stream."""

    def pending(self):
        """Entries that were taken and not acknowledged."""
        return self.server.client.xpending(self.name, self.group)["pending"]

    def abandon(self, n):
        """A consumer of the name "1" that took n entries and died."""
        with contextlib.suppress(Exception):
            self.server.client.xgroup_create(self.name, self.group, "0", mkstream=True)
        self.server.client.xreadgroup(self.group, "1", {self.name: ">"}, count=n)

    def aside(self):
        """[(entry id, reason)] of the rejected entries."""
        found = [fields for _, fields in self.server.client.xrange(f"{self.name}:rejected")]
        return [(fields[b"entry"].decode(), fields[b"reason"].decode()) for fields in found]


class KafkaEvents:
    """A new topic of a `KafkaCluster`."""

    def __init__(self, server, partitions=1):
        import confluent_kafka

        self.server, self._kafka = server, confluent_kafka
        self.name = self.group = f"events-{uuid.uuid4().hex[:8]}"
        self.address = f"kafka://{server.servers}/{self.name}"
        self.arguments = ["--group", self.group]
        self._partitions, self._opened, self._added = partitions, [], [0] * partitions
        server.make(self.name, partitions)
        self._producer = confluent_kafka.Producer({"bootstrap.servers": server.servers})

    def add(self, **fields):
        return self.send(json.dumps(fields))

    def send(self, value, key=None):
        """Adds a message of any bytes; returns its entry's id. Messages go to the partitions in turn."""
        partition = sum(self._added) % self._partitions
        self._producer.produce(self.name, value, key, partition=partition)
        assert self._producer.flush(20) == 0
        self._added[partition] += 1
        return f"{self.name}-{partition}-{self._added[partition] - 1}"

    def consumer(self, store, name="1", batch=500):
        stream = open_stream(self.address, None, self.group, name, batch)
        self._opened.append(stream)
        return StreamConsumer(stream, events_into(store))

    def ready(self, consumers):
        while not all(stream._consumer.assignment() for stream in self._opened):
            for consumer in consumers:
                consumer.step()

    def pending(self):
        with self._client() as client:
            places = [self._kafka.TopicPartition(self.name, p) for p in range(self._partitions)]
            done = [max(place.offset, 0) for place in client.committed(places, timeout=20)]
        return sum(self._added) - sum(done)

    def abandon(self, n):
        with self._client() as client:
            client.subscribe([self.name])
            assert len(client.consume(n, 20)) == n

    def aside(self):
        """[(entry id, reason)]"""
        return [tuple(value.decode() for _, value in message.headers()) for message in self.rejected()]

    def rejected(self):
        """The messages of the topic of rejected ones."""
        topic = f"{self.name}.rejected"
        with self._client() as client:
            found = client.list_topics(topic, timeout=20).topics[topic].partitions
            places = [self._kafka.TopicPartition(topic, p, 0) for p in found]
            count = sum(client.get_watermark_offsets(place, timeout=20)[1] for place in places)
            client.assign(places)
            return sorted(client.consume(count, 20), key=lambda message: message.timestamp()) if count else []

    def close(self):
        for stream in self._opened:
            stream.close()

    @contextlib.contextmanager
    def _client(self):
        settings = dict(line.split("=") for line in kafka_cluster.SETTINGS.split())
        client = self._kafka.Consumer({
            **settings, "bootstrap.servers": self.server.servers, "group.id": self.group, "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        })
        try:
            yield client
        finally:
            client.close()


KINDS = {"redis": (redis_server.running, RedisEvents), "kafka": (kafka_cluster.running, KafkaEvents)}
