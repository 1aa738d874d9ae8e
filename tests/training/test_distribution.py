"""Training on several devices learns what one device would."""

import json
import signal
import time

import distributed
import numpy as np
import pytest
from forked import Forked

from tfrs_twotower import recipes
from tfrs_twotower.recommender import Recommender

_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "TF_NUM_INTRAOP_THREADS": "1"}


def _start(folder, kind, config=None, flags=(), run=None):
    environment = {**_ENVIRONMENT, "TF_CONFIG": json.dumps(config)} if config else _ENVIRONMENT
    asked = ["--folder", folder / (run or kind), "--set", "index.k=10", "--distribute", kind, *flags]
    return Forked("distributed:run", ["train", folder / "recipe.json", *asked], environment=environment)


def _workers(folder):
    cluster = distributed.cluster(worker=2)
    return [_start(folder, "workers", {"cluster": cluster, "task": {"type": "worker", "index": i}}) for i in range(2)]


def _finish(processes):
    for process in processes:
        _, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors[-3000:]


def _history(folder):
    lines = (folder / "checkpoint" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the recipe, and its data."""
    folder = tmp_path_factory.mktemp("distributed")
    distributed.write(distributed.recipe(folder), folder / "recipe.json")
    return folder


@pytest.fixture(scope="module")
def alone(folder):
    """(what one process learned, its history, what its refit learned)."""
    run = Recommender(recipes.load(str(folder / "recipe.json")), directory=folder / "alone").fit(verbose=0)
    learned = distributed.learned(run)
    return learned, _history(folder / "alone"), _served(run.refit(verbose=0))


def _served(run):
    return [variable.numpy() for variable in run.served.model.trainable_variables]


def _agree(run, alone, whole=slice(None)):
    """The chief's weights came by the other's gradients, and so by the other's weights.

    Args:
      run: a run's folder.
      alone: what one process learned, its history, and more.
      whole: the epochs that were not cut short, so that their mean losses are of all their steps.
    """
    found, history, (learned, expected, _) = distributed.learned(Recommender.load(run)), _history(run), alone
    assert sorted(found) == sorted(learned)
    for name, values in learned.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=2e-4, err_msg=name)
    assert [line["step"] for line in history] == [line["step"] for line in expected]
    np.testing.assert_allclose(
        [line["loss"] for line in history[whole]], [line["loss"] for line in expected[whole]], rtol=1e-5
    )
    assert len(list((run / "export").glob("*/saved_model.pb"))) == 1
    assert json.loads((run / "metrics.json").read_text())["index"]["recall@10"] == 1.0


def test_two_devices_of_a_process_learn_what_one_does(folder, alone):
    _finish([_start(folder, "mirrored", flags=["--no-refit"])])
    _agree(folder / "mirrored", alone)
    assert not (folder / "mirrored" / "refit").exists()


def test_two_workers_killed_and_resumed_learn_what_one_process_does(folder, alone):
    processes, run = _workers(folder), folder / "workers"
    deadline = time.monotonic() + 400
    while not list((run / "checkpoint" / "last").glob("ckpt-*.index")):
        assert all(p.poll() is None for p in processes) and time.monotonic() < deadline
        time.sleep(0.05)
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (run / "metrics.json").exists()
    _finish(_workers(folder))
    _agree(run, alone, whole=slice(-1, None))
    # Two devices of a process refit in the same way. One device sums in another order, which chose other hard negatives
    # on one of two CPUs: on it the weights agree on the mean alone.
    _finish([_start(folder, "mirrored", run="devices")])
    workers, devices = (_served(Recommender.load(folder / run)) for run in ("workers", "devices"))
    for found, same, one in zip(workers, devices, alone[2], strict=True):
        np.testing.assert_allclose(found, same, rtol=0, atol=2e-4)
        assert np.abs(found - one).mean() < 2e-3


def test_auxiliary_losses_and_sequences_are_those_of_the_whole_batch():
    """`python tests/two_steps.py` does it for all systems, which takes some minutes."""
    process = Forked("two_steps:main", ["auxiliary", "hstu"], environment=_ENVIRONMENT)
    found, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors[-3000:]
    for name, (difference, change, one, two) in json.loads(found).items():
        assert difference < 1e-5 < 0.1 < change, name
        assert two == pytest.approx(one, rel=1e-6), name
