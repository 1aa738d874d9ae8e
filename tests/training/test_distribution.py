"""Training on several devices learns what one device would."""

import dataclasses
import json
import signal
import time

import distributed
import numpy as np
import pytest
from forked import Forked

from tfrs_twotower import columns as c
from tfrs_twotower import recipes
from tfrs_twotower.configuration import override
from tfrs_twotower.data import read_log
from tfrs_twotower.features import ItemStatistic
from tfrs_twotower.pipeline.dealing import can_be_dealt
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.sampling import HardNegatives
from tfrs_twotower.training import Resampling, TrainingBatches, WorkerShare

_ROUNDING = 1e-5  # measured: 6e-7
_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "TF_NUM_INTRAOP_THREADS": "1"}


def _start(folder, kind, config=None, flags=(), run=None, recipe="recipe.json"):
    environment = {**_ENVIRONMENT, "TF_CONFIG": json.dumps(config)} if config else _ENVIRONMENT
    asked = ["--folder", folder / (run or kind), "--set", "index.k=10", "--distribute", kind, *flags]
    return Forked("distributed:run", ["train", folder / recipe, *asked], environment=environment)


def _workers(folder, recipes=("recipe.json", "recipe.json")):
    cluster = distributed.cluster(worker=2)
    tasks = [{"cluster": cluster, "task": {"type": "worker", "index": i}} for i in range(2)]
    return [_start(folder, "workers", task, recipe=name) for task, name in zip(tasks, recipes)]


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
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(HardNegatives, "ranked", distributed.in_order)  # as in the other processes
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
        np.testing.assert_allclose(found[name], values, rtol=0, atol=_ROUNDING, err_msg=name)
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


def test_each_worker_takes_the_rows_of_its_users_and_together_they_take_the_batch(trained):
    examples, rows, config = trained.assembly.examples, trained.assembly.split.train, trained.recipe.training
    whole, owner = TrainingBatches(examples, rows, config), trained.assembly.log.user[rows] % 3
    shares = [WorkerShare(3, len(rows), np.flatnonzero(owner == number)) for number in range(3)]
    workers = [TrainingBatches(examples, rows[share.places], config, share=share) for share in shares]
    assert {batches.steps_per_epoch for batches in workers} == {whole.steps_per_epoch}
    for step in (0, 1, whole.steps_per_epoch):
        parts = [batches.batch(step, part, 3) for part, batches in enumerate(workers)]
        found, place = (np.concatenate(values) for values in (
            [batches.rows(step) for batches in workers], [part["place"] for part in parts]))
        np.testing.assert_array_equal(found[np.argsort(place)], whole.rows(step))
        assert [len(part["candidate_id"]) for part in parts] == [len(batches.rows(step)) for batches in workers]
    halves = [workers[0].batch(0, part, 6)["candidate_id"] for part in (0, 1)]  # two devices in each worker
    np.testing.assert_array_equal(np.concatenate(halves), workers[0].batch(0)["candidate_id"])


def test_which_trainings_are_dealt_out():
    retail = recipes.load("retail")
    resampled = dataclasses.replace(retail, training=dataclasses.replace(retail.training, resampling=Resampling()))
    moving = dataclasses.replace(retail, derived=dataclasses.replace(retail.derived, candidate=(ItemStatistic(),)))
    batch, layer = (override(retail, [f"model.query_encoder.normalisation={name}"]) for name in ("batch", "layer"))
    few = override(retail, ['model.few_shot={"type": "Reptile"}'])
    dealt = [retail, recipes.load("youtube_dnn"), layer, recipes.load("sasrec"), resampled, moving, batch, few]
    assert [can_be_dealt(recipe) for recipe in dealt] == 3 * [True] + 5 * [False]


def _check_parts(run, said):
    """The second worker read the events of every second user, and the first worker's are the other ones."""
    log, _ = read_log(run / "log")
    part, _ = read_log(run / "checkpoint" / "parts" / "2" / "1")
    assert sorted(p.name for p in (run / "checkpoint" / "parts" / "2").iterdir() if p.is_dir()) == ["1"]
    others = log.user % 2 == 1
    assert 0 < others.sum() < len(log)
    assert part.users[c.USER_ID].to_pylist() == log.users[c.USER_ID].to_pylist()[1::2]
    assert part.items.equals(log.items)
    np.testing.assert_array_equal(2 * part.user + 1, log.user[others])
    for name in ("item", "timestamp"):
        np.testing.assert_array_equal(getattr(part, name), getattr(log, name)[others])
    assert f"Worker 2 of 2: {others.sum():,} of {len(log):,} events" in said


def test_two_workers_killed_and_resumed_learn_what_one_process_does(folder, alone):
    elsewhere = dataclasses.replace(recipes.load(str(folder / "recipe.json")).source, path=str(folder / "none.parquet"))
    distributed.write(dataclasses.replace(recipes.load(str(folder / "recipe.json")), source=elsewhere),
                      folder / "elsewhere.json")
    # The second worker can read no log, and needs none.
    processes, run = _workers(folder, ["recipe.json", "elsewhere.json"]), folder / "workers"
    deadline = time.monotonic() + 400
    while not list((run / "checkpoint" / "last").glob("ckpt-*.index")):
        assert all(p.poll() is None for p in processes) and time.monotonic() < deadline
        time.sleep(0.05)
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (run / "metrics.json").exists()
    _check_parts(run, processes[1].stdout.read())
    _finish(_workers(folder))
    assert not list(run.glob("*/parts"))
    _agree(run, alone, whole=slice(-1, None))
    for found, one in zip(_served(Recommender.load(run)), alone[2], strict=True):
        np.testing.assert_allclose(found, one, rtol=0, atol=_ROUNDING)


def test_negatives_auxiliary_losses_and_sequences_are_those_of_the_whole_batch():
    """`python tests/two_steps.py` does it for all systems, which takes some minutes."""
    process = Forked("two_steps:main", ["negatives", "auxiliary", "hstu"], environment=_ENVIRONMENT)
    found, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors[-3000:]
    for name, (difference, change, one, two) in json.loads(found).items():
        assert difference < 1e-5 < 0.1 < change, name
        assert two == pytest.approx(one, rel=1e-6), name
