"""A Redis server of its own for the tests, on a socket in a folder."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


def executable():
    """The path of `redis-server`; without it the test is skipped, or fails in CI, where it has to be there."""
    found = shutil.which("redis-server")
    if found is None:
        reason = "needs redis-server, which is not installed (Debian: apt install redis-server)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return found


class RedisServer:
    """A server that can be killed and started again on the same data. `url` is its address."""

    def __init__(self, folder, options=DURABLE):
        self.folder, self.options = Path(folder), options
        self.url = f"unix://{self.folder}/redis.sock"
        self._executable = executable()

    def start(self):
        """Starts it, and waits until it answers."""
        import redis

        self.process = subprocess.Popen(
            [self._executable, "--port", "0", "--unixsocket", f"{self.folder}/redis.sock", "--dir", str(self.folder),
             "--save", "", *self.options],
            stdout=subprocess.DEVNULL,
        )
        self.client = redis.Redis.from_url(self.url)
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(redis.ConnectionError, redis.BusyLoadingError):
                self.client.ping()
                return self
            assert time.monotonic() < deadline and self.process.poll() is None, "redis-server does not start"
            time.sleep(0.02)

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Ends it for good."""
        self.client.close()
        self.kill()


@contextlib.contextmanager
def running(options=DURABLE):
    """A `RedisServer` for the length of the block; its folder's path is short, as a socket's has to be."""
    with tempfile.TemporaryDirectory(prefix="redis") as folder:
        server = RedisServer(folder, options).start()
        try:
            yield server
        finally:
            server.stop()
