"""Training: repeatable, resumable after a kill, stopped by what is not finite."""

import contextlib
import gc
import json
import re
import signal
import weakref

import numpy as np
import pytest
import tensorflow as tf
import toy
from forked import Forked
from tensorflow.python.framework import ops

from tfrs_twotower import progress
from tfrs_twotower.errors import ConfigError, TrainingError
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.training import LazyAdamConfig, callbacks
from tfrs_twotower.training.optimizers import build

_TRAINING = {"epochs": 4, "patience": 0, "checkpoint_steps": 5}

# What a process counts for itself: how often it saved, and the mean loss that its progress bar shows.
_OF_THE_PROCESS = ("save_counter", "model/mean_loss")


def _checkpoints(folder):
    return sorted(int(p.stem.split("-")[1]) for p in (folder / "last").glob("ckpt-*.index"))


def _train(directory, ends, *steps):
    with Forked("toy:train_and_refit", directory, _TRAINING, *steps) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == ends, errors[-2000:]


def _values(directory, which):
    path = tf.train.latest_checkpoint(str(directory / which))
    reader = tf.train.load_checkpoint(path)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name}


def test_a_run_killed_and_resumed_equals_one_left_alone(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    toy.train(whole, **_TRAINING).refit(verbose=0)
    ends = [max(_checkpoints(whole / folder)) for folder in ("checkpoint", "refit")]
    # 24 steps an epoch. Who began again would take more steps than are left, and be killed before the end.
    for folder, steps, kept in (("checkpoint", (33,), 30), ("refit", (ends[0] - 30 + 1, 8), 5)):
        _train(killed, -signal.SIGKILL, *steps)
        assert max(_checkpoints(killed / folder)) == kept
    assert not (killed / "refit" / "done.json").exists()
    _train(killed, 0, 1, ends[1] - 5 + 1)
    for which in ("checkpoint/last", "checkpoint/best", "refit/last", "refit/best"):
        a, b = _values(whole, which), _values(killed, which)
        assert a.keys() == b.keys()
        differ = [k for k in a if not np.array_equal(a[k], b[k]) and not k.startswith(_OF_THE_PROCESS)]
        assert differ == []
    lines = [
        [{k: v for k, v in json.loads(line).items() if k not in ("evaluation_seconds", "loss")}
         for line in (d / "checkpoint" / "history.jsonl").read_text().splitlines()]
        for d in (whole, killed)
    ]
    assert lines[0] == lines[1]


def test_equal_seeds_give_equal_weights_and_others_do_not(tmp_path, trained):
    again = toy.train(tmp_path / "again")
    assert toy.same_weights(again, trained)
    other = toy.train(tmp_path / "other", seed=1, epochs=1)
    assert not toy.same_weights(other, trained)


def _slots():
    """How many slots of an optimizer are in memory."""
    gc.collect()
    return sum(isinstance(v, tf.Variable) and v.name.startswith(("m/", "v/")) for v in gc.get_objects())


def test_a_training_leaves_nothing_in_memory(tmp_path):
    """TensorFlow kept the function that makes the batches and the gradients of losses, and with them the tables of each
    training of a process."""
    before, gradients = _slots(), {*ops.gradient_registry.list()}
    run = toy.train(tmp_path, epochs=1)
    assert _slots() == before  # its own are gone, though its weights are there
    assert {*ops.gradient_registry.list()} == gradients
    weights = [weakref.ref(weight) for weight in run.assembly.model.trainable_variables]
    del run
    gc.collect()
    assert weights and not [found.name for found in (weight() for weight in weights) if found is not None]


def test_stops_when_the_metric_stays_worse(tmp_path):
    """With a learning rate that wrecks the model after a good start, patience ends the run and keeps the best."""
    run = toy.train(tmp_path, epochs=40, patience=2, optimizer=LazyAdamConfig(learning_rate=0.05))
    history = [json.loads(line) for line in (tmp_path / "checkpoint" / "history.jsonl").read_text().splitlines()]
    values = [line["ndcg@10"] for line in history]
    best = int(np.argmax(values))
    assert len(values) == best + 3 < 40
    validation = run.evaluate(on="validation")["validation"]
    assert validation["ndcg@10"] == pytest.approx(values[best], abs=1e-9)


def test_an_infinite_feature_is_named_and_no_weight_changes(tmp_path):
    frames, _ = toy.planted()
    run = Recommender(toy.recipe(epochs=1), directory=tmp_path, **frames)
    run.fit(verbose=0)
    a = run.assembly
    before = toy.weights(run)
    a.model.compile(optimizer=build(run.recipe.training.optimizer, 1))
    table = a.examples._by_user["normalise_age"]
    key = next(k for k, v in table.items() if np.issubdtype(v.dtype, np.floating))
    table[key][:] = np.inf
    batch = next(iter(a.batches.dataset(0, 1)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="not-finite"):
        a.model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
    assert all(np.array_equal(before[k], v) for k, v in toy.weights(run).items())
    from tfrs_twotower.training.diagnosis import culprit

    assert "`normalise_age`" in culprit(a.model, batch)


def test_a_wild_learning_rate_stops_with_the_batch_named_and_its_bar_is_gone(tmp_path, monkeypatch):
    shown = []

    @contextlib.contextmanager
    def bar(what, *total):
        shown.append(what)
        try:
            yield progress.unseen
        finally:
            shown.remove(what)

    monkeypatch.setattr(progress, "bar", bar)
    frames, _ = toy.planted()
    wild = toy.recipe(epochs=2, optimizer=LazyAdamConfig(learning_rate=1e38))
    with pytest.raises(TrainingError) as failed:  # it holds what would close the bar as garbage
        Recommender(wild, directory=tmp_path, **frames).fit()
    assert re.search(r"step \d+ \(epoch 1, batch \d+\)|weights .* not finite", str(failed.value)) and not shown


def test_an_unknown_monitor_offers_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean `ndcg@10`"):
        toy.train(tmp_path, epochs=1, monitor="ndgc@10")


def test_known_positives_are_the_users_latest_training_items(trained):
    a = trained.assembly
    user = int(a.log.user[a.split.train[0]])
    mine = [int(a.log.item[r]) for r in a.split.train if a.log.user[r] == user]
    assert a.batches._positives.row(user).tolist() == mine[::-1][: a.recipe.training.known_positives]


def test_histories_end_before_the_event(trained):
    """No batch's history holds an event that is not strictly before its row."""
    a = trained.assembly
    rows = a.split.train[::37]
    times = a.examples.history.before(rows, 50)[1]
    assert (times.max(axis=1) <= a.log.timestamp[rows]).all() and (times > 0).any()


def test_a_table_is_checked_in_parts_of_rows(monkeypatch):
    monkeypatch.setattr(callbacks, "_AT_ONCE", 4)
    table = np.arange(10.0).reshape(5, 2)
    parts = [part.numpy().tolist() for part in callbacks._parts(tf.Variable(table))]
    assert parts == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]]]
