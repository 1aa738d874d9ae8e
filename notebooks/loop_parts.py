"""The processes around the loop: `twotower serve` and `twotower consume`, by a clock that the simulation sets.

    python -m notebooks.loop_parts CLOCK serve …

runs `twotower serve …` in a world whose time is the number in the file CLOCK. So two weeks take minutes, and the times
in events, answers and the names of files are those of the simulation. Nothing else is different from the real thing.
"""

import contextlib
import functools
import io
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import types
from pathlib import Path

import requests

PATIENCE = 120
_ROOT = Path(__file__).resolve().parents[1]
_SOON = 0.02  # seconds between two looks at a process
_AGAIN = (408, 429, 503, 504)


class Clock:
    """A time in a file, in seconds since 1970: one process sets it, all read it."""

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.exists():
            self.path.write_bytes(struct.pack("d", 0.0))
        with open(self.path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)

    def now(self):
        """The time."""
        return struct.unpack("d", self._map[:8])[0]

    def set(self, seconds):
        """Sets it."""
        self._map[:8] = struct.pack("d", seconds)


class Process:
    """A verb of `twotower` that runs until it is stopped.

    Args:
      clock: a `Clock`.
      arguments: of `twotower`.
      log: a file for what it prints.
    """

    def __init__(self, clock, arguments, log):
        self._command = [sys.executable, "-m", "notebooks.loop_parts", str(clock.path), *map(str, arguments)]
        self._log = log
        self.start()

    def start(self):
        """Starts it, and does not wait."""
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1"}
        environment = {**os.environ, **quiet, "PYTHONPATH": str(_ROOT)}
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(self._command, env=environment, stdout=log, stderr=log)

    def check(self):
        """Raises `RuntimeError` with the end of its log if it ended."""
        if self.process.poll() is not None:
            end = Path(self._log).read_text()[-2000:]
            raise RuntimeError(f"`{' '.join(self._command)}` ended with {self.process.returncode}:\n{end}")

    def kill(self):
        """SIGKILL: it has no time for anything."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM: it finishes what it has begun."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=PATIENCE)


class Server(Process):
    """`twotower serve` of the model `name`, and a client that tries again as long as it is away."""

    def __init__(self, clock, name, root, options, log):
        self.name, ports = name, _free_ports(2)
        self.address, self._session = f"http://127.0.0.1:{ports[0]}", requests.Session()
        self.sent_again = 0
        arguments = ["serve", root, "--name", name, "--rest-port", ports[0], "--grpc-port", ports[1], "--no-page",
                     "--poll-seconds", 0.2, "--log-level", "warning", *options]
        super().__init__(clock, arguments, log)

    def ready(self):
        """Waits until it answers."""
        self._until(lambda: self._session.get(f"{self.address}/readyz", timeout=10).status_code == 200)

    def serves(self, version):
        """Waits until the version answers."""
        def answers():
            reply = self._session.get(f"{self.address}/v1/models/{self.name}/versions/{version}", timeout=10).json()
            return [found["state"] for found in reply.get("model_version_status", ())] == ["AVAILABLE"]

        self._until(answers)

    def send(self, path, body, method="post"):
        """The answer to a request, which is sent again until there is one."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(requests.ConnectionError, requests.Timeout):
                reply = self._session.request(method, self.address + path, json=body, timeout=30)
                if reply.status_code not in _AGAIN:
                    if reply.status_code != 200:
                        raise RuntimeError(f"{path} answers {reply.status_code}: {reply.text}")
                    return reply.json()
            self.check()
            self.sent_again += 1
            time.sleep(10 * _SOON)
        raise RuntimeError(f"{path} does not answer within {PATIENCE} s.")

    def _until(self, holds):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.check()
            with contextlib.suppress(requests.ConnectionError, requests.Timeout):
                if holds():
                    return
            time.sleep(_SOON)
        raise RuntimeError(f"The server is not as it should be within {PATIENCE} s. Its log is {self._log}.")


class Topic:
    """A Kafka topic with a `twotower consume` behind it; the broker can be taken away.

    The broker is librdkafka's mock cluster, which speaks the real protocol on a port of this process.

    Args:
      clock: a `Clock`.
      store: the address of the store that the events go to.
      folder: for settings and log.
    """

    def __init__(self, clock, store, folder):
        import confluent_kafka

        from tests import kafka_cluster

        self.cluster = kafka_cluster.KafkaCluster()
        self.cluster.make("events")
        settings = Path(folder) / "kafka.properties"
        settings.write_text(kafka_cluster.SETTINGS)
        os.environ["TWOTOWER_KAFKA_CONFIG"] = str(settings)
        self._producer = confluent_kafka.Producer({"bootstrap.servers": self.cluster.servers, "acks": "all",
                                                   "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 100})
        address = f"kafka://{self.cluster.servers}/events"
        self._consumer = Process(clock, ["consume", address, "--store", store], Path(folder) / "consume.log")
        self.acknowledged = []

    def send(self, event):
        """Sends an event. When the broker has it, its id is in `acknowledged`; until then it waits here."""
        def sent(error, message):
            if error is None:
                self.acknowledged.append(event["event_id"])

        self._producer.produce("events", json.dumps(event), key=str(event["user_id"]), on_delivery=sent)
        self._producer.poll(0)

    def waiting(self):
        """The number of events that the broker has not acknowledged."""
        return len(self._producer)

    def flush(self):
        """Waits until the broker has all events. Raises `RuntimeError` if it takes too long."""
        if left := self._producer.flush(PATIENCE):
            raise RuntimeError(f"The broker lacks {left} events after {PATIENCE} s.")

    def close(self):
        """Ends consumer and broker."""
        self._consumer.check()
        self._consumer.stop()
        self.cluster.stop()
        del os.environ["TWOTOWER_KAFKA_CONFIG"]


def verb(*arguments):
    """Runs a verb of `twotower` in this process; returns its name and the last line that it printed."""
    from tfrs_twotower.cli.main import main

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        status = main([str(argument) for argument in arguments])
    if status:
        raise SystemExit(f"twotower {arguments[0]} ended with {status}:\n{printed.getvalue()}")
    return f"twotower {arguments[0]}: {printed.getvalue().strip().splitlines()[-1]}"


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in found]


def _copy(module):
    """A module with the same contents, which does not see later changes."""
    other = types.ModuleType(module.__name__)
    other.__dict__.update(module.__dict__)
    return other


def _main():
    import grpc._server

    clock = Clock(sys.argv[1])
    grpc._server.time = _copy(time)  # a deadline by another time would be over: its thread would not wait, and run hot
    time.time = clock.now  # before the package is imported, which takes it as a default of its parameters
    from tfrs_twotower import freshness
    from tfrs_twotower.cli.main import main

    freshness.Refresher = functools.partial(freshness.Refresher, seconds=10 * _SOON)  # an hour is over in a second
    sys.exit(main(sys.argv[2:]))


if __name__ == "__main__":
    _main()
