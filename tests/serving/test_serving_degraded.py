"""A server that starts, and goes on, while a store, a cache or a disk fails; and works again without a restart."""

import contextlib
import logging
import re
import shutil
import socket
import subprocess
import tempfile
import time

import httpx
import pytest
import redis_server

from tests.serving.test_serving_exploration import arguments
from tests.serving.test_serving_items import START, U1, ask
from tfrs_twotower.cli import exploring
from tfrs_twotower.freshness import FreshItems
from tfrs_twotower.online import Event, StoreError, StoreUnavailable, open_cache, open_stores, redis_connection
from tfrs_twotower.serving import Server
from tfrs_twotower.serving.health import Health
from tfrs_twotower.serving.metrics import Metrics


@pytest.fixture
def disk(tmp_path):
    """A file system of 1 MB. `fill` takes what is left of it, `free` gives it back."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, stderr=subprocess.PIPE).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk):
    with contextlib.suppress(OSError), open(disk / "filling", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def free(disk):
    (disk / "filling").unlink()


def read_only(disk, flag="ro"):
    subprocess.run(["mount", "-o", f"remount,{flag}", str(disk)], check=True)


@contextlib.contextmanager
def served(root, **settings):
    with Server(root, rest_port=0, grpc_port=0, **settings) as server:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client:
            yield client


def ready(client):
    response = client.get("/readyz")
    assert response.status_code == 200
    return response.text


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_until_ready(client):
    until(lambda: ready(client) == "ready\n")


def best(client):
    """The best item of user 7: 3 for one without a history."""
    body = {"inputs": {"user_id": [7], "k": 1}}
    return client.post("/v1/models/twotower:predict", json=body).raise_for_status().json()["outputs"]["ids"]


def send(client, event_id="e"):
    events = [{"event_id": event_id, "user_id": 7, "item_id": 2, "event": "view"}]
    return client.post("/v1/events", json={"events": events})


def gauge(client, part):
    return float(re.search(f'twotower_degraded{{part="{part}"}} (.*)', client.get("/metrics").text)[1])


def test_while_redis_is_down_a_server_starts_says_so_and_recovers(history_root, caplog):
    folder = tempfile.mkdtemp()  # a socket's path must be short
    server = redis_server.RedisServer(folder)
    with pytest.raises(StoreUnavailable):
        open_stores(server.url)
    stores, cache = open_stores(server.url, late=True), open_cache(server.url, late=True)
    try:
        with caplog.at_level(logging.WARNING), served(history_root, stores=stores, cache=cache) as client:
            unknown = best(client)
            assert ready(client) == "degraded: cache, profiles, store\n"
            assert (gauge(client, "store"), gauge(client, "cache")) == (1, 1)
            assert sum("Degraded: store fails" in message for message in caplog.messages) == 1
            refused = send(client)
            assert refused.status_code == 503 and "Send the same events again" in refused.json()["error"]
            server.start()
            wait_until_ready(client)
            until(lambda: gauge(client, "store") == gauge(client, "cache") == 0)  # a moment after it is ready
            until(lambda: "No longer degraded: store works again" in caplog.messages)
            assert send(client).status_code == 200
            assert best(client) != unknown
            server.kill()
            assert best(client) == unknown
            assert ready(client).startswith("degraded: ") and "store" in ready(client)
            server.start()
            wait_until_ready(client)
            assert best(client) != unknown
    finally:
        stores.close()
        cache.close()
        server.stop()
        shutil.rmtree(folder)


@pytest.mark.parametrize("broken, mended", [(fill, free), (read_only, lambda disk: read_only(disk, "rw"))])
def test_on_a_full_or_read_only_disk_a_server_starts_and_recovers(history_root, disk, broken, mended):
    address = f"sqlite:{disk}/store.db"
    kept = open_stores(address)
    kept.history.append([Event("old", "7", "2", 5, "view")])
    kept.close()
    broken(disk)
    stores = open_stores(address, late=True)
    with served(history_root, stores=stores) as client:
        unknown = best(client)
        assert ready(client) == "degraded: profiles, store\n"
        assert send(client).status_code == 503
        mended(disk)
        wait_until_ready(client)
        assert best(client) != unknown
        assert send(client).status_code == 200
    assert len(stores.history.last(["7"], 9)[0]) == 2
    stores.close()


def test_what_no_waiting_mends_is_refused_at_once(tmp_path, redis):
    (tmp_path / "notes").write_text("not a database, and long enough to be read as a page " * 100)
    with pytest.raises(StoreError, match="not a database"):
        open_stores(f"sqlite:{tmp_path}/notes", late=True)
    with pytest.raises(StoreError, match="cannot be opened"):
        open_stores(f"sqlite:{tmp_path}/no/such/folder/store.db", late=True)
    redis.client.config_set("appendfsync", "everysec")
    try:
        with pytest.raises(StoreError, match="must keep what it acknowledges"):
            open_stores(redis.url, late=True)
    finally:
        redis.client.config_set("appendfsync", "always")


@pytest.mark.parametrize("broken, mended", [(fill, free), (read_only, lambda disk: read_only(disk, "rw"))])
def test_withdrawn_items_stay_withdrawn_on_a_full_or_read_only_disk(shop_root, disk, broken, mended):
    first = FreshItems(disk / "items")
    first.withdraw(["c"])
    first.close()
    broken(disk)
    fresh = FreshItems(disk / "items")
    left = {item: score for item, score in START.items() if item != "c"}
    with served(shop_root, fresh=fresh) as client:
        assert ask(client, **U1) == left
        assert ready(client) == "degraded: items\n"
        assert client.post("/v1/items", json={"withdrawn": ["b"]}).status_code == 503
        assert ask(client, **U1) == left
        mended(disk)
        wait_until_ready(client)
        assert client.post("/v1/items", json={"withdrawn": ["b"]}).status_code == 200
        del left["b"]
        assert ask(client, **U1) == left
    fresh.close()
    again = FreshItems(disk / "items")
    assert again._latest == {"c": None, "b": None}
    again.close()


def test_a_folder_of_item_events_that_cannot_be_made_is_refused(disk):
    read_only(disk)
    with pytest.raises(StoreError, match="cannot be written"):
        FreshItems(disk / "items")


def test_exploration_on_a_full_disk_proposes_nothing_until_there_is_room(shop_root, tmp_path, disk):
    args = arguments("--explore", f"{disk}/new.db", "--explore-share", "1")
    fill(disk)
    stores, fresh = open_stores(f"sqlite:{tmp_path}/store.db"), FreshItems(tmp_path / "items")
    stores, fresh, channels, others = exploring.explored(args, stores, fresh)
    with served(shop_root, stores=stores, fresh=fresh, channels=channels) as client:
        assert ready(client) == "degraded: items\n"
        client.post("/v1/items", json={"changed": [{"item_id": "n", "price": 2.0}]}).raise_for_status()
        request = {"user_id": "u1", "k": 4, "channels": {"fresh": 2}, "features": {"mood": [0, 0]}}
        found = client.post("/v1/recommend", json=request).raise_for_status().json()["items"]
        assert len(found) == 4 and all(item["channel"] != "fresh" for item in found)
        free(disk)
        time.sleep(1.1)  # it is tried once a second
        client.post("/v1/items", json={"changed": [{"item_id": "n", "price": 2.0}]}).raise_for_status()
        found = client.post("/v1/recommend", json=request).raise_for_status().json()["items"]
        assert [item["item_id"] for item in found if item["channel"] == "fresh"] == ["n"]
        wait_until_ready(client)
    for opened in (stores, fresh, *others):
        opened.close()


def test_a_part_without_a_probe_works_again_with_its_next_good_call_of_that_method(caplog):
    class Flaky:
        name, bad = "flaky", True

        def propose(self):
            if self.bad:
                raise StoreUnavailable("away")
            return "items"

        def other(self):
            return 1

    health = Health(Metrics())
    flaky = Flaky()
    watched = health.watched("channel flaky", flaky)
    health.start()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            watched.propose()
    assert watched.other() == 1 and watched.name == "flaky"
    time.sleep(1.2)  # longer than between two looks
    assert health.degraded() == ["channel flaky"]
    flaky.bad = False
    assert watched.propose() == "items" and health.degraded() == []
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    health.close()


def test_no_request_calls_a_part_that_does_not_answer_its_probe():
    class Hanging:
        calls, hangs = 0, True

        def get(self):
            self.calls += 1
            return "here"

        put = get

        def probe(self):
            if self.hangs:
                raise StoreUnavailable("Timeout reading from socket.")

    health, thing = Health(Metrics()), Hanging()
    watched = health.watched("store", thing, thing.probe, ("get",), ahead=True)
    health.start()
    for method in (watched.get, watched.put):
        with pytest.raises(StoreUnavailable, match="Timeout reading"):
            method()
    assert thing.calls == 0
    thing.hangs = False
    until(lambda: not health.degraded())
    assert watched.get() == "here"
    health.close()


def test_a_request_waits_once_for_a_redis_that_hangs(monkeypatch):
    """It takes connections and never answers. The request asks it nothing a second time, and no other part at all."""
    monkeypatch.setattr(redis_connection, "_ANSWER_SECONDS", 0.1)
    metrics = Metrics()
    health = Health(metrics)
    with tempfile.TemporaryDirectory(prefix="hangs") as folder, socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(f"{folder}/redis.sock")
        hanging.listen()
        client = redis_connection.connect(f"unix://{folder}/redis.sock", ping=False)

        class Cache:
            def get(self):
                with redis_connection.errors("redis"):
                    return client.get("a")

        parts = [health.watched(part, Cache(), lambda: None, ("get",), ahead=True) for part in ("store", "cache")]
        health.start()
        with metrics.call("recommend"):
            for part in (*parts, *parts):
                with pytest.raises(StoreUnavailable, match="Timeout reading"):
                    part.get()
        hanging.accept()
        hanging.setblocking(False)
        with pytest.raises(BlockingIOError):
            hanging.accept()
    health.close()
