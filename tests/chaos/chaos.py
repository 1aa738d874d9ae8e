"""A `twotower serve` process that is disturbed, and a load that counts what it loses.

The rules. A request is lost where no try of it is answered with 200 within `PATIENCE` seconds: a client tries again on
a broken connection and on 408, 429, 503 and 504 (gRPC: what stands for them), and takes any other refusal as final. An
answer is of a wrong version where that was not published yet, or is older than one that answered before the request
began. An event is lost where its request was answered and the store does not have it in the end; an item, where the
answers in the end lack it or hold it although it was withdrawn.
"""

import collections
import random
import signal
import threading
import time
from concurrent import futures

import grpc
import httpx
from forked import twotower
from google.protobuf import json_format, struct_pb2

from tests.chaos.chaos_export import BEST
from tfrs_twotower.serving.grpc_service import METHODS

PATIENCE = 120
_AGAIN = (408, 429, 503, 504, "UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED")
_SOON = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000)]
_BYSTANDER = 1_000_000  # users from here on do nothing
_NEW = 1000  # items from here on are new


class Process:
    """`twotower serve` on two ports, which can be killed and started again."""

    def __init__(self, root, store, cache, items, answers, port, grpc_port):
        self.address, self.grpc_address = f"http://127.0.0.1:{port}", f"127.0.0.1:{grpc_port}"
        self._command = [
            "serve", root, "--name", "toy", "--store", store, "--cache", cache, "--items-log", items,
            "--log-requests", answers, "--rest-port", port, "--grpc-port", grpc_port, "--poll-seconds", "0.2",
        ]
        self.start()

    def start(self):
        """Starts it, and does not wait."""
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1"}
        self.process = twotower(*self._command, environment=environment, quiet=True)

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
    """Predictions, events and item changes at a steady rate, over REST and gRPC; a context manager.

    Args:
      address, grpc_address: of the server.
      rate: requests a second, half of them ask for items.
    """

    def __init__(self, address, grpc_address, rate):
        self._address, self._rate = address, rate
        self._client = httpx.Client(timeout=10, limits=httpx.Limits(max_connections=32))
        self._channel = grpc.insecure_channel(grpc_address, _SOON)
        self._recommend = self._channel.unary_unary(
            "/{}/{}".format(*METHODS["recommend"]), struct_pb2.Struct.SerializeToString, struct_pb2.Struct.FromString
        )
        self._stop, self._pool = threading.Event(), futures.ThreadPoolExecutor(32)
        self._thread = threading.Thread(target=self._run)
        self._futures = []
        self.published = {}  # version: which export it is
        self.lost, self.wrong = [], []
        self.again = collections.Counter()  # why requests were sent again: a status, or "connection"
        self.acknowledged = {}  # event id: user
        self.given, self.told = set(), []  # ids of answers; those of which an impression was acknowledged
        self.profiles = {}  # user: the last age that was acknowledged
        self.answers = []  # (began, ended, lowest, highest version that it can be of)
        self._items = collections.deque()  # new items that were acknowledged and nobody began to withdraw
        self.there = set()  # items that answers must have in the end

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

    def check(self):
        """Fills `wrong` with answers that went back to an older version."""
        best, ended = 0, sorted((end, lowest) for _, end, lowest, _ in self.answers)
        for began, _, _, highest in sorted(self.answers):
            while ended and ended[0][0] < began:
                best = max(best, ended.pop(0)[1])
            if highest < best:
                self.wrong.append((highest, best))

    def items(self):
        """The new items that the server answers with now."""
        body = {"inputs": {"user_id": [_BYSTANDER], "k": 1000}}
        return {item for item in self._answered("/v1/models/toy:predict", body)["outputs"]["ids"][0] if item >= _NEW}

    def _run(self):
        kinds = (
            self._predict, self._event, self._recommend_by_grpc, self._change, self._recommend_by_rest, self._event,
            self._profile,
        )
        start, number = time.monotonic(), 0
        while not self._stop.wait(max(0.0, start + number / self._rate - time.monotonic())):
            self._futures.append(self._pool.submit(kinds[number % len(kinds)], number))
            number += 1

    def _predict(self, number):
        began = time.monotonic()
        answer = self._answered("/v1/models/toy:predict", {"inputs": {"user_id": [_BYSTANDER + number], "k": 1}})
        if answer is not None:
            export = round(answer["outputs"]["scores"][0][0] / BEST)
            self._note(began, [version for version, made in self.published.items() if made == export])

    def _recommend_by_rest(self, number):
        began = time.monotonic()
        answer = self._answered("/v1/recommend", {"user_id": 1 + number % 40, "k": 2, "exclude_seen": True})
        if answer is not None:
            self._note(began, [answer["model_version"]])
        if answer and "answer_id" in answer:  # not while the disk was full
            self.given.add(answer["answer_id"])
            seen = {"answer_id": answer["answer_id"], "places": [number % 2]}
            if self._answered("/v1/impressions", {"impressions": [seen]}) is not None:
                self.told.append((answer["answer_id"], number % 2))

    def _profile(self, number):
        user = f"{2 * _BYSTANDER + number}"
        if self._answered(f"/v1/users/{user}", {"profile": {"age": float(number)}}, "PUT") is not None:
            self.profiles[user] = {"age": float(number)}

    def _recommend_by_grpc(self, number):
        began, request = time.monotonic(), struct_pb2.Struct()
        request.update({"user_id": 1 + number % 40, "k": 2})

        def ask():
            try:
                return "OK", json_format.MessageToDict(self._recommend(request, timeout=10))
            except grpc.RpcError as error:
                return error.code().name, None

        answer = self._until_answered("gRPC recommend", ask, "OK")
        if answer is not None:
            self._note(began, [int(answer["model_version"])])

    def _note(self, began, versions):
        if versions and set(versions) <= set(self.published):
            self.answers.append((began, time.monotonic(), min(versions), max(versions)))
        else:
            self.wrong.append((versions, list(self.published)))

    def _event(self, number):
        event = {"event_id": f"e{number}", "user_id": 1 + number % 40, "item_id": 1 + number % 4}
        if self._answered("/v1/events", {"events": [event]}) is not None:
            self.acknowledged[event["event_id"]] = str(event["user_id"])

    def _change(self, number):
        """One new item; every second time another one is withdrawn."""
        item = _NEW + number
        gone = [self._items.popleft()] if number % 14 == 3 and self._items else []
        body = {"changed": [{"item_id": item, "price": BEST / 8}], "withdrawn": gone}
        if self._answered("/v1/items", body) is not None:
            self.there.add(item)
            self.there.difference_update(gone)
            self._items.append(item)

    def _answered(self, path, body, method="POST"):
        def ask():
            try:
                response = self._client.request(method, self._address + path, json=body)
                return response.status_code, response.json()
            except httpx.HTTPError:
                return "connection", None

        return self._until_answered(path, ask, 200)

    def _until_answered(self, name, ask, good):
        deadline, pause = time.monotonic() + PATIENCE, 0.1
        while time.monotonic() < deadline:
            status, answer = ask()
            if status == good:
                return answer
            if status not in (*_AGAIN, "connection"):
                break
            self.again[status] += 1
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 2.0)
        self.lost.append((name, status, answer))
        return None
