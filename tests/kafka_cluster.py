"""A Kafka cluster for the tests: the mock cluster of librdkafka, which speaks the real protocol on a port."""

import contextlib
import ctypes
from pathlib import Path

import confluent_kafka

# Before it shares partitions anew, a group waits for its members for a session less a second, so sessions are short. A
# member hears of that by its next heartbeat: there is time for three, or the group would begin again and again.
SETTINGS = "session.timeout.ms=1300\nheartbeat.interval.ms=100\nreconnect.backoff.max.ms=100\n"
_PRODUCER = 0


def _library():
    """librdkafka as the client has it: the mock cluster has no Python."""
    folder = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
    library = ctypes.CDLL(str(next(folder.glob("librdkafka*"))))
    text, pointer, number = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int
    for name, returns, *takes in (
        ("rd_kafka_conf_new", pointer), ("rd_kafka_new", pointer, number, pointer, text, ctypes.c_size_t),
        ("rd_kafka_mock_cluster_new", pointer, pointer, number), ("rd_kafka_mock_cluster_bootstraps", text, pointer),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, pointer, ctypes.c_int32),
        ("rd_kafka_mock_topic_create", number, pointer, text, number, number),
        ("rd_kafka_mock_broker_set_down", number, pointer, ctypes.c_int32),
        ("rd_kafka_mock_broker_set_up", number, pointer, ctypes.c_int32),
        ("rd_kafka_mock_cluster_destroy", None, pointer), ("rd_kafka_destroy", None, pointer),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = returns, takes
    return library


class KafkaCluster:
    """One broker in this process, reached by other processes at `servers`. What it holds is lost with it."""

    def __init__(self):
        self._library = library = _library()
        error = ctypes.create_string_buffer(512)
        self._client = library.rd_kafka_new(_PRODUCER, library.rd_kafka_conf_new(), error, len(error))
        self._cluster = library.rd_kafka_mock_cluster_new(self._client, 1)
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.servers = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def make(self, topic, partitions=1):
        """Makes a topic."""
        assert self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1) == 0

    def kill(self):
        """Closes its port and all connections."""
        assert self._library.rd_kafka_mock_broker_set_down(self._cluster, 1) == 0

    def start(self):
        """Opens the port again."""
        assert self._library.rd_kafka_mock_broker_set_up(self._cluster, 1) == 0

    def stop(self):
        """Ends it for good."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)


@contextlib.contextmanager
def running():
    """A `KafkaCluster` for the length of the block."""
    cluster = KafkaCluster()
    try:
        yield cluster
    finally:
        cluster.stop()
