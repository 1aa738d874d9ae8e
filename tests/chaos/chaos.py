"""A `twotower serve` process that is disturbed, and a load that counts what it loses.

The rules. A request is lost where no try of it is answered with 200 within `PATIENCE` seconds: a client tries again on
a broken connection and on 408, 429, 503 and 504, and takes any other refusal as final. An answer is of a wrong version
where that was not published yet, or is older than one that answered before the request began. An event is lost where
its request was answered and the store does not have it in the end.
"""

import collections
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import httpx

PATIENCE = 120
_AGAIN = (408, 429, 503, 504)
_ROOT = Path(__file__).parents[2]
_BYSTANDER = 1_000_000  # users from here on do nothing, so that their scores show the version alone


class Process:
    """`twotower serve` on one port, which can be killed and started again."""

    def __init__(self, root, store, cache, port):
        self.address = f"http://127.0.0.1:{port}"
        self._command = [
            sys.executable, "-m", "tfrs_twotower", "serve", str(root), "--name", "toy", "--store", store,
            "--cache", cache, "--rest-port", str(port), "--grpc-port", "0", "--poll-seconds", "0.2",
        ]
        self.start()

    def start(self):
        """Starts it, and does not wait."""
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1"}
        self.process = subprocess.Popen(
            self._command, cwd=_ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def wait(self):
        """Until it is ready."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
            try:
                if httpx.get(f"{self.address}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError("the server does not get ready")

    def kill(self):
        """SIGKILL, and a new process."""
        self.process.kill()
        self.process.wait()
        self.start()

    def stop(self):
        """SIGTERM: it drains."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


class Load:
    """Predictions and events at a steady rate; a context manager.

    Args:
      address: of the server.
      rate: requests a second, half of them predictions, half events.
    """

    def __init__(self, address, rate):
        self._address, self._rate = address, rate
        self._client = httpx.Client(timeout=10, limits=httpx.Limits(max_connections=32))
        self._stop, self._pool = threading.Event(), futures.ThreadPoolExecutor(32)
        self._thread = threading.Thread(target=self._run)
        self._futures = []
        self.newest = 0  # the newest version that was published
        self.lost, self.wrong = [], []
        self.again = collections.Counter()  # why requests were sent again: a status, or "connection"
        self.acknowledged = {}  # event id: user
        self.answers = []  # (began, ended, version)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()
        futures.wait(self._futures)
        for future in self._futures:
            future.result()
        self._pool.shutdown()
        self._client.close()

    def check(self):
        """Fills `wrong` with answers that went back to an older version."""
        best, ended = 0, sorted((end, version) for _, end, version in self.answers)
        for began, _, version in sorted(self.answers):
            while ended and ended[0][0] < began:
                best = max(best, ended.pop(0)[1])
            if version < best:
                self.wrong.append((version, best))

    def _run(self):
        start, number = time.monotonic(), 0
        while not self._stop.wait(max(0.0, start + number / self._rate - time.monotonic())):
            self._futures.append(self._pool.submit(self._event if number % 2 else self._predict, number))
            number += 1

    def _predict(self, number):
        began = time.monotonic()
        answer = self._answered("/v1/models/toy:predict", {"inputs": {"user_id": [_BYSTANDER + number], "k": 1}})
        if answer is not None:  # of the best item: 0.4 + the version
            version = round(answer["outputs"]["scores"][0][0] - 0.4)
            self.answers.append((began, time.monotonic(), version))
            if not 1 <= version <= self.newest:
                self.wrong.append((version, self.newest))

    def _event(self, number):
        event = {"event_id": f"e{number}", "user_id": 1 + number % 40, "item_id": 1 + number % 4}
        if self._answered("/v1/events", {"events": [event]}) is not None:
            self.acknowledged[event["event_id"]] = str(event["user_id"])

    def _answered(self, path, body):
        deadline, pause = time.monotonic() + PATIENCE, 0.1
        while time.monotonic() < deadline:
            try:
                response = self._client.post(self._address + path, json=body)
                if response.status_code == 200:
                    return response.json()
                reason = response.status_code
                if reason not in _AGAIN:
                    break
            except httpx.HTTPError:
                reason = "connection"
            self.again[reason] += 1
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 2.0)
        self.lost.append((path, reason))
        return None
