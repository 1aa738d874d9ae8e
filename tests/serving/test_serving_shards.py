"""An index in shards behind a server: all parts in one process, and a front that asks other servers for theirs."""

import contextlib
import os
import re
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import numpy as np
import ports
import pytest
import tensorflow as tf
from forked import twotower
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.serving import sharded_export
from tfrs_twotower.cli.main import main
from tfrs_twotower.configuration import to_dict
from tfrs_twotower.errors import ConfigError, IndexingError
from tfrs_twotower.exporting import integrity
from tfrs_twotower.freshness import FreshItems
from tfrs_twotower.index import ExactKind, ShardedKind
from tfrs_twotower.serving import Access, InvalidArgument, Limits, Server, ShardsKind, State, outside_index
from tfrs_twotower.serving.errors import FailedPrecondition
from tfrs_twotower.serving.shard import Shard
from tfrs_twotower.serving.shards import Shards

U1 = {"user_id": ["u1"], "history_item_id": [[]], "mood": [[0, 0]]}
WHOLE, FIRST, SECOND = {"c": 6, "b": 4, "a": 2}, {"c": 6, "b": 4, "a": 2}, {"f": 2, "d": 0, "e": 0}
ANY = {"rest_port": 0, "grpc_port": 0, "poll_seconds": 60}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sharded")
    sharded_export.write(root)
    return root


def copied(root, to, *files):
    """A copy of version 1 with some of its files."""
    for file in files:
        source, target = root / "1" / file, to / "1" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return to


@pytest.fixture
def started():
    with contextlib.ExitStack() as stack:
        yield lambda *args, **settings: stack.enter_context(Server(*args, **{**ANY, **settings}))


def front_of(*servers):
    return "shards:" + ",".join(f"127.0.0.1:{server.grpc_port}" for server in servers)


def ask(port, k=3, **inputs):
    """({item: score}, the header that names missing shards)."""
    body = {"inputs": {**U1, "k": k, **inputs}}
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/models/shop:predict", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    found = answer.json()["outputs"]
    return dict(zip(found["ids"][0], found["scores"][0])), answer.headers.get("x-twotower-partial")


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def test_parts_in_one_process(root, started):
    server = started(root)
    assert ask(server.rest_port) == (WHOLE, None)
    assert ask(server.rest_port, 2, exclude_ids=[["c"]]) == ({"b": 4, "a": 2}, None)


def test_a_front_and_shards_that_hold_their_part_alone(root, started, tmp_path):
    """The answers are those of one index; filters, changes of items and both transports work through the front."""
    needed = ("manifest.json", "index/parts.json")
    shards = [started(copied(root, tmp_path / str(i), *needed, f"index/{i}"), shard=f"{i}/2") for i in (1, 2)]
    fresh = FreshItems(tmp_path / "items")
    front = started(root, index=front_of(*shards), fresh=fresh)
    port = front.rest_port
    assert ask(port) == (WHOLE, None)
    assert ask(port, 6)[0] == {**FIRST, **SECOND}
    assert ask(port, 2, exclude_ids=[["c"]])[0] == {"b": 4, "a": 2}
    assert ask(port, 1, allow_ids=[["e", "a"]])[0] == {"a": 2}
    fresh.record([{"item_id": "new", "price": 5, "tags": ["x"]}], ["c"])
    assert ask(port, 2)[0] == {"new": 10, "b": 4}
    body = {"user_id": "u1", "k": 2, "features": {"mood": [0, 0], "history_item_id": []}}
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/recommend", json=body).json()
    assert [item["item_id"] for item in answer["items"]] == ["new", "b"]
    fresh.close()

    shards[0].stop()
    found, missing = ask(port, 2)
    assert set(found) == {"new", "f"} and missing == "1/2"
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/recommend", json=body)
    assert answer.headers["x-twotower-partial"] == "1/2"
    assert [item["item_id"] for item in answer.json()["items"]] == ["new", "f"]
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "shop", "recommend_by_vector"
    request.inputs["embedding"].CopyFrom(tf.make_tensor_proto(np.array([[1, 0]], np.float32)))
    request.inputs["k"].CopyFrom(tf.make_tensor_proto(2))
    with grpc.insecure_channel(f"127.0.0.1:{front.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert dict(stub.Predict.with_call(request)[1].trailing_metadata())["x-twotower-partial"] == "1/2"
    text = front.metrics.text()[0].decode()
    assert "twotower_partial_answers_total 3.0" in text
    assert 'twotower_shard_failures_total{shard="1/2"} 3.0' in text
    assert ask(port, 3, exclude_ids=[["c", "f"]])[0] == {"new": 10, "b": 4, "a": 2}  # too few are left: exact, so whole
    shards[1].stop()
    assert ask(port, 2) == ({"new": 10, "b": 4}, None)  # no shard answers: the graph searches exactly


def test_a_shard_of_another_export_is_not_merged(root, started, tmp_path, caplog):
    (tmp_path / "other").mkdir()
    sharded_export.copy(root, tmp_path / "other", 1, "another")
    first = started(root, shard="1/2")
    port, = ports.free(1)  # it is opened again and again
    second = started(tmp_path / "other", shard="2/2", grpc_port=port)
    front = started(root, index=front_of(first, second))
    assert not front.ready()  # no answer is better than a wrong one
    assert "Shard 2/2 at 127.0.0.1:" in front.repository.statuses()[0].error
    assert "another manifest" in front.repository.statuses()[0].error
    second.stop()
    right = started(root, shard="2/2", grpc_port=port)
    front.repository.poll()
    assert ask(front.rest_port) == (WHOLE, None)
    right.stop()
    started(tmp_path / "other", shard="2/2", grpc_port=port)
    assert until(lambda: "another manifest" in caplog.text and ask(front.rest_port)[1] == "2/2")
    assert set(ask(front.rest_port, 3)[0]) == set(FIRST)
    right = {"queries": np.zeros([1, 2], np.float32), "k": np.int32(9), "manifest": integrity.identity(root / "1")}
    assert first.predictor.predict("search", right)["rows"].tolist() == [[0, 1, 2]]
    for other in ("x", np.array(b"\xff")):
        with pytest.raises(FailedPrecondition, match="another manifest"):
            first.predictor.predict("search", {**right, "manifest": other})
    for wrong, reason in (
        ({"queries": np.zeros([1, 3], np.float32)}, "shape"),
        ({"queries": np.zeros([0, 2], np.float32)}, "at least one row"),
        ({"queries": np.array([[np.nan, 0]], np.float32)}, "finite"),
        ({"k": np.int32(0)}, "`k` must be"), ({"k": np.int32(10**6)}, "`k` must be"),
    ):
        with pytest.raises(InvalidArgument, match=reason):
            first.predictor.predict("search", {**right, **wrong})


def test_a_query_that_is_not_finite_puts_no_shard_to_rest(root, started):
    shard = started(root, shard="1/2")
    said = {"model": "shop", "version": 1, "catalogue": {"items": 6}}
    front = Shards([f"127.0.0.1:{shard.grpc_port}"], said, integrity.identity(root / "1"), 2, seconds=30)
    with pytest.raises(IndexingError, match="`queries` must be finite"):
        front.search(np.array([[np.nan, 0]], np.float32), 1)
    assert front.search(np.array([[1, 0]], np.float32), 1).rows.shape == (1, 1)


@pytest.mark.parametrize("rows, k", [(1, 10**6), (10**5, 1)])
def test_a_search_over_the_limits_puts_no_shard_to_rest(rows, k, root, started):
    """One shard has lower limits than the other. A part of an answer would be wrong each time, so there is none."""
    few = Limits(max_k=1, max_width=2, max_batch=1)
    shards = [started(root, shard="1/2", limits=few), started(root, shard="2/2")]
    said = {"model": "shop", "version": 1, "catalogue": {"items": 6}}
    addresses = [f"127.0.0.1:{shard.grpc_port}" for shard in shards]
    front = Shards(addresses, said, integrity.identity(root / "1"), 2, seconds=30)
    with pytest.raises(IndexingError, match="Shard 1/2 .* refuses the search"):
        front.search(np.zeros([rows, 2], np.float32), k)
    assert sorted(front.search(np.array([[1, 0]], np.float32), 6).rows[0].tolist()) == [0, 1, 2, 3, 4, 5]


def test_shards_that_ask_for_a_key(root, started, tmp_path, monkeypatch):
    (tmp_path / "keys").write_text("a-key-of-sixteen-letters\n")
    shards = [started(root, shard=f"{i}/2", access=Access(str(tmp_path / "keys"))) for i in (1, 2)]
    front = started(root, index=front_of(*shards))
    assert "UNAUTHENTICATED" in front.repository.statuses()[0].error
    monkeypatch.setenv("TWOTOWER_SHARDS_KEY", "a-key-of-sixteen-letters")
    front.repository.poll()
    assert ask(front.rest_port) == (WHOLE, None)


def test_a_new_version_is_taken_when_every_shard_has_it(root, started, tmp_path):
    shutil.copytree(root / "1", tmp_path / "1")
    shards = [started(tmp_path, shard=f"{i}/2") for i in (1, 2)]
    front = started(tmp_path, index=front_of(*shards))
    sharded_export.copy(root, tmp_path, 2)
    shards[0].repository.poll()
    front.repository.poll()
    assert front.repository.available() == [1] and ask(front.rest_port) == (WHOLE, None)
    assert "Shard 2/2" in front.repository.statuses()[1].error
    shards[1].repository.poll()
    front.repository.poll()
    assert front.repository.available() == [2] and ask(front.rest_port) == (WHOLE, None)
    assert shards[0].repository.available() == [1, 2]  # requests that began with version 1 still find it


def test_a_shard_refuses_a_version_without_its_part(root, shop_root, started):
    for folder, shard, reason in (
        (shop_root, "1/2", "no index in shards"), (root, "1/3", "in 2 shards, not in 3"),
        (root, "3/3", "one of the index's 2 parts"),
    ):
        server = started(folder, shard=shard)
        (status,) = server.repository.statuses()
        assert status.state is State.END and reason in status.error


@pytest.mark.parametrize("shard", ["0/0", "3/2", "x", "", "1", "1/2/3", "-1/2", "1/0", "0/2", "１/2", "1/2\n", " 1/2"])
def test_what_is_no_shard(shard, root, capfd):
    with pytest.raises(ConfigError, match="`shard` must be i/n, with i from 1 to n"):
        Shard.read(shard)
    assert main(["serve", str(root), f"--shard={shard}", "--rest-port", "0", "--grpc-port", "0"]) == 1
    assert "must be i/n" in capfd.readouterr().err


@pytest.mark.parametrize("addresses", ["", "a", "a:1,", "a:b", "a:1,b", "http://a:1", "a:1 ,b:2"])
def test_what_are_no_addresses(addresses, root):
    with pytest.raises(ConfigError, match="have HOST:PORT of every shard"):
        Server(root, index=f"shards:{addresses}", **ANY)


def test_settings_that_do_not_go_together(root, shop_root, started):
    with pytest.raises(ConfigError, match="only searches its part"):
        Server(root, index="faiss_hnsw", shard="1/2", **ANY)
    for folder, count, reason in ((shop_root, 2, "be that of an export in shards"), (root, 3, "addresses of 2 shards")):
        server = started(folder, index=ShardsKind(("127.0.0.1:1",) * count))
        assert reason in server.repository.statuses()[0].error
    server = started(root, index="shards:127.0.0.1:1,127.0.0.1:1")
    assert "No shard answers" in server.repository.statuses()[0].error


def test_an_export_makes_a_server_import_nothing_in_its_parts():
    brought = {**to_dict(ShardedKind(ExactKind(), 2)), "kind": {"type": "this.Kind"}}
    with pytest.raises(ConfigError, match="`this.Kind`, whose module is not imported"):
        outside_index.opened("", {"index_kind": brought}, None, 1.0, None)
    assert "this" not in sys.modules


def took(call):
    start = time.monotonic()
    call()
    return time.monotonic() - start


def serve(*arguments):
    """(process, REST port, gRPC port) of `twotower serve`."""
    process = twotower("serve", *arguments)
    found = re.search(r"127\.0\.0\.1:(\d+)/.* and gRPC 127\.0\.0\.1:(\d+)", process.stdout.readline())
    return process, int(found[1]), int(found[2])


def test_a_shard_that_is_killed_or_hangs_is_missed_and_comes_back(root):
    """Real processes: two shards and the front. SIGKILL and SIGSTOP of a shard make partial answers that say so."""
    processes, (first, second) = [], ports.free(2)
    try:
        for shard, port in (("1/2", first), ("2/2", second)):
            processes.append(serve(root, "--shard", shard, "--rest-port", 0, "--grpc-port", port))
        index = f"shards:127.0.0.1:{first},127.0.0.1:{second}"
        processes.append(serve(root, "--index", index, "--rest-port", 0, "--grpc-port", 0))
        front = processes[2][1]
        assert ask(front) == (WHOLE, None)
        os.kill(processes[0][0].pid, signal.SIGKILL)
        processes[0][0].wait()
        for _ in range(3):
            assert ask(front, 3) == (SECOND, "1/2")
        processes.append(serve(root, "--shard", "1/2", "--rest-port", 0, "--grpc-port", first))
        assert until(lambda: ask(front) == (WHOLE, None))
        os.kill(processes[1][0].pid, signal.SIGSTOP)
        slow, quick = time.monotonic(), []
        assert ask(front) == (FIRST, "2/2")
        assert time.monotonic() - slow > 0.9  # the shard's deadline
        for _ in range(5):
            quick.append(time.monotonic())
            assert ask(front) == (FIRST, "2/2")
        assert quick[-1] - quick[0] < 0.9  # while it rests, nobody waits for it
        time.sleep(1.0)
        with ThreadPoolExecutor(6) as threads:
            waits = list(threads.map(lambda _: took(lambda: ask(front)), range(6)))
        assert sum(wait > 0.9 for wait in waits) <= 1  # then one request asks it, and the others do not wait
        os.kill(processes[1][0].pid, signal.SIGCONT)
        assert until(lambda: ask(front) == (WHOLE, None))
    finally:
        for process, *_ in processes:
            process.kill()
            process.wait()
            process.stdout.close()
