"""Training on several devices learns what one device would."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import distributed
import numpy as np
import pytest

_SCRIPT = Path(distributed.__file__)


def _start(kind, folder, config=None):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_NUM_INTRAOP_THREADS": "1"}
    if config:
        environment["TF_CONFIG"] = json.dumps(config)
    return subprocess.Popen([sys.executable, _SCRIPT, kind, folder], env=environment, stderr=subprocess.PIPE)


def _workers(folder):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
    cluster = {"worker": [f"localhost:{s.getsockname()[1]}" for s in sockets]}
    for s in sockets:
        s.close()
    return [_start("workers", folder, {"cluster": cluster, "task": {"type": "worker", "index": i}}) for i in range(2)]


def _finish(processes):
    for process in processes:
        _, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors.decode()[-3000:]


def _history(folder):
    lines = (folder / "checkpoint" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """(what one process learned, its history)."""
    folder = tmp_path_factory.mktemp("alone")
    return distributed.learned(distributed.train(folder)), _history(folder)


def _agree(found, history, alone, whole=slice(None)):
    """`whole`: the epochs that were not cut short, so that their mean losses are of all their steps."""
    learned, expected = alone
    assert sorted(found.files) == sorted(learned)
    for name, values in learned.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=2e-4, err_msg=name)
    assert [line["step"] for line in history] == [line["step"] for line in expected]
    np.testing.assert_allclose(
        [line["loss"] for line in history[whole]], [line["loss"] for line in expected[whole]], rtol=1e-5
    )


def test_two_devices_of_a_process_learn_what_one_does(tmp_path, alone):
    _finish([_start("mirrored", tmp_path)])
    _agree(np.load(tmp_path / "mirrored.npz"), _history(tmp_path / "mirrored"), alone)


def test_two_workers_killed_and_resumed_learn_what_one_process_does(tmp_path, alone):
    processes, saved = _workers(tmp_path), tmp_path / "workers" / "checkpoint" / "last"
    deadline = time.monotonic() + 400
    while not list(saved.glob("ckpt-*.index")):
        assert all(p.poll() is None for p in processes) and time.monotonic() < deadline
        time.sleep(0.05)
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "workers0.npz").exists()
    _finish(_workers(tmp_path))
    for worker in range(2):
        found = np.load(tmp_path / f"workers{worker}.npz")
        _agree(found, _history(tmp_path / "workers"), alone, whole=slice(-1, None))
