"""Several processes on the same ports, as real processes: what they answer, count and keep, and what ends them."""

import os
import re
import select
import signal
import socket
import sys
import threading
from pathlib import Path

import grpc
import httpx
import pytest
import tensorflow as tf
from clocks import set_clock
from forked import twotower
from ports import free
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.serving.test_serving_admission import USER, wait_for
from tfrs_twotower.cli.main import main
from tfrs_twotower.serving import CannotServe, processes
from tfrs_twotower.serving.metrics import FOLDER
from tfrs_twotower.serving.ports import keep, listen
from tfrs_twotower.serving.processes import ServerProcess
from tfrs_twotower.serving.signals import Signals

PREDICT = "/v1/models/toy:predict"


def children(process):
    """The processes that it started."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def runs(pid):
    """Does the process run? One that has ended stays as a zombie where nobody asks for its status."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def served(process):
    """(the REST address, the gRPC address) that it says, when all answer."""
    address = re.fullmatch(r"Serving toy \(version 3\) at (http\S+)/v1/models/toy and gRPC (\S+)\n",
                           process.stdout.readline())
    assert process.stdout.readline().startswith("Look at its answers: ")
    assert process.stdout.readline() == "2 processes answer.\n"
    return address.groups()


def answered(url):
    """How many predictions all processes have answered."""
    text = httpx.get(url + "/metrics").text
    return sum(map(float, re.findall(r'^twotower_requests_total\{method="\w+:[pP]redict".*status="OK"\} (\S+)', text,
                                     re.MULTILINE)))


@pytest.fixture
def root(tmp_path, publish):
    publish(tmp_path / "versions", 3)
    return tmp_path / "versions"


def start(root, *options):
    ports = ("--rest-port", "0", "--grpc-port", "0")
    return twotower("serve", "--name", "toy", *ports, "--processes", "2", *options, "--", root)


def test_processes_share_the_ports_and_one_that_is_killed_comes_back(root, tmp_path):
    process = start(root, "--log-requests", tmp_path / "answers", "--store", f"sqlite:{tmp_path}/store.db")
    url, grpc_address = served(process)
    first = children(process)
    assert len(first) == 2 and {path.name for path in (tmp_path / "answers").iterdir()} == {"1", "2"}
    for _ in range(20):  # the system gives each connection to one of them
        assert httpx.post(url + PREDICT, json=USER).status_code == 200
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.inputs["user_id"].CopyFrom(tf.make_tensor_proto(["somebody"]))
    with grpc.insecure_channel(grpc_address) as channel:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    assert answered(url) == 21
    with pytest.raises(CannotServe, match="in use"):  # another server does not join them unasked
        listen("127.0.0.1", "rest_port", int(url.rpartition(":")[2]))
    os.kill(first[1], signal.SIGKILL)
    told = re.compile(r"Process 2 ended with status -9\. It starts again in [12] s\.\n")  # 1: it took 30 s to get here
    assert any(map(told.fullmatch, iter(process.stderr.readline, "")))
    wait_for(lambda: len(children(process)) == 2 and children(process) != first, "the other one")
    for _ in range(20):
        assert httpx.post(url + PREDICT, json=USER, timeout=60).status_code == 200
    assert answered(url) == 41  # those of the dead one count
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


def test_they_end_with_the_one_that_started_them(root):
    process = start(root)
    served(process)
    parts = children(process)
    process.kill()
    wait_for(lambda: not any(map(runs, parts)), "the processes to end")


def test_what_is_wrong_is_said_once(tmp_path):
    process = start(tmp_path / "missing")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and not out
    assert err.count("`root` must be a folder") == 1


def test_one_that_is_killed_at_the_first_start_is_named(root):
    process = start(root)
    wait_for(lambda: children(process), "the first one")
    os.kill(children(process)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert not out and "Process 1 ended with status -9 before it was ready." in err


def test_what_a_process_prints_does_not_hide_its_end(tmp_path, capfd):
    """Bytes that are no text; and a process of its own that holds its output and lives longer."""
    ended, script = threading.Event(), "printf 'a \\377\\nServing x\\nat /\\nmore\\n'; sleep 20 & exit 3"
    environment = {FOLDER: str(tmp_path)}
    part = ServerProcess(1, ["sh", "-c", script], environment, lambda: part.ended() is not None and ended.set())
    part.start()
    assert ended.wait(10) and part.failed() == 3
    wait_for(lambda: part.said == ["Serving x", "at /"], "its lines")
    wait_for(lambda: "more" in capfd.readouterr().out, "what else it prints")


def test_a_signal_is_heard_among_many_calls(monkeypatch):
    with Signals() as signals:
        for _ in range(10_000):
            signals.wake()
        assert not signals.wait() and not signals.wait(0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.wait(30)


def test_what_belongs_to_one_process_is_refused(tmp_path, capsys):
    for option in ("--items-log", "--archive"):
        assert main(["serve", str(tmp_path), "--processes", "2", option, "x"]) == 1
        assert f"`--processes` must be 1 with {option}, whose folder" in capsys.readouterr().err
    with listen("127.0.0.1", "rest_port", 0) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", str(tmp_path), "--processes", "2", "--rest-port", port]) == 1
        assert "Address already in use. Choose another `rest_port`" in capsys.readouterr().err
    port, = free(1)
    ports = ["--rest-port", str(port), "--grpc-port", str(port)]
    assert main(["serve", str(tmp_path), "--processes", "2", *ports]) == 1
    assert "Address already in use. Choose another `grpc_port`" in capsys.readouterr().err
    assert main(["serve", str(tmp_path), "--process", "4"]) == 1
    assert "Did you mean --processes 4?" in capsys.readouterr().err


def test_a_kept_port_is_no_other_server_s():
    with keep("127.0.0.1", "rest_port", 0) as kept:
        port = kept.getsockname()[1]
        for take in (keep, listen):
            with pytest.raises(CannotServe, match="in use"):
                take("127.0.0.1", "grpc_port", port)


def test_a_kept_port_takes_no_connection_of_those_that_share_it():
    with keep("127.0.0.1", "rest_port", 0) as kept:
        port = kept.getsockname()[1]
        with listen("127.0.0.1", "rest_port", port, shared=True) as first:
            with listen("127.0.0.1", "rest_port", port, shared=True) as second:
                clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
                taken = {first: 0, second: 0}
                while sum(taken.values()) < 20:
                    ready = select.select([first, second], [], [], 30)[0]
                    assert ready
                    for one in ready:
                        one.accept()[0].close()
                        taken[one] += 1
                for client in clients:
                    client.close()


def test_one_that_dies_soon_starts_again_later_each_time(tmp_path, monkeypatch):
    now = [100.0]
    set_clock(monkeypatch, processes, monotonic=lambda: now[0])
    command = [sys.executable, "-c", "print('ready'); raise SystemExit(3)"]
    part = ServerProcess(1, command, {FOLDER: str(tmp_path)}, lambda: None)
    waits = []
    for lived in (0, 0, 0, 0, 0, 31, 0):
        part.start()
        assert part.wait() == 3
        now[0] += lived
        part.look_after()
        waits.append(part.seconds())
        part.look_after()
        assert part.ended() == 3  # not yet
        now[0] += waits[-1]
    assert waits == [2, 4, 8, 16, 30, 1, 2]
