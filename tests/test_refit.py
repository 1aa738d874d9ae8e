"""The training on all events before an export: what it learns from, what it serves, what is measured without it."""

import dataclasses
import importlib
import json

import numpy as np
import pytest
import tensorflow as tf
import toy

from tfrs_twotower import columns as c
from tfrs_twotower.data import Frames, LeaveLastOut, RandomHoldout, Temporal, UserHeldOut, ingest
from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.exporting import manifest
from tfrs_twotower.features import Id, Schema
from tfrs_twotower.models import Neighbours
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.pipeline.lineage import lineage
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.training import LazyAdamConfig
from tfrs_twotower.training.optimizers import WarmupCosine, build

pytestmark = pytest.mark.usefixtures("two_signatures")
EPOCHS = 3


def late_log():
    """The planted log; half of its newest twentieth is of an item that nothing else names."""
    frame = toy.planted()[0]["interactions"].sort_values(c.TIMESTAMP, kind="stable", ignore_index=True)
    newest = np.arange(int(len(frame) * 0.95), len(frame), 2)
    frame.loc[newest, c.ITEM_ID] = "late"
    return frame, len(newest)


def recipe(**training):
    """Ids alone, quickly trained; the rate falls to nothing over all epochs."""
    falling = LazyAdamConfig(learning_rate=0.02, schedule=WarmupCosine(0.1))
    plain = toy.recipe(**{"epochs": EPOCHS, "optimizer": falling, **training})
    schema = Schema(query=(Id(c.USER_ID, dim=8),), candidate=(Id(c.ITEM_ID, dim=8),))
    evaluation = EvaluationConfig(ks=(5, 10), bootstrap=0, baseline_seconds=0)
    return dataclasses.replace(plain, schema=schema, evaluation=evaluation)


@dataclasses.dataclass
class Run:
    """A run that was refit and exported, and what stood before."""

    recommender: Recommender
    before: dict
    evaluated: dict
    path: str
    schedule: WarmupCosine  # of the refit's learning rate


fit = importlib.import_module("tfrs_twotower.training.fit")  # the name in the package is the function


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A `Run` on `late_log`."""
    recommender = Recommender(recipe(), late_log()[0], directory=tmp_path_factory.mktemp("refit") / "toy" / "run")
    recommender.fit(verbose=0)
    before, evaluated = recommender.evaluate(), toy.weights(recommender)
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "build", lambda *arguments: made.append(build(*arguments)) or made[-1])
        recommender.refit(verbose=0)
    return Run(recommender, before, evaluated, recommender.export(), made[0]._learning_rate)


def test_it_trains_on_all_events_for_the_epochs_that_validation_chose(run):
    held_out, whole = run.recommender.assembly, run.recommender.served
    assert whole.split.train.tolist() == list(range(len(whole.log)))
    assert len(held_out.split.train) < len(whole.log)
    epochs = run.before["training"]["best_epoch"] + 1
    assert whole.batches.steps_per_epoch > held_out.batches.steps_per_epoch
    assert toy.steps(run.recommender.directory / "refit") == epochs * whole.batches.steps_per_epoch
    # The rate stands where it stood when the best epoch ended, of the whole schedule.
    assert run.schedule.warmup_steps + run.schedule.decay_steps == EPOCHS * whole.batches.steps_per_epoch
    # The chosen weight of popularity is kept, its counts are of all events.
    assert whole.weights == held_out.weights
    assert whole.train_counts.sum() == len(whole.log)


def test_a_run_from_python_has_the_files_of_the_command(run):
    folder = run.recommender.directory
    assert {"config.json", "metrics.json", "popularity.json", "checkpoint", "refit", "report", "export", "log"} <= {
        path.name for path in folder.iterdir()
    }
    assert (folder.parent / "latest").resolve() == folder.resolve()
    assert json.loads((folder / "metrics.json").read_text())["test"] == run.before["test"]


def test_an_item_of_the_newest_events_alone_is_recommended(run):
    recommender, users = run.recommender, run.recommender.active_users(20)
    known = recommender.assembly.log.items[c.ITEM_ID].take(recommender.assembly.catalogue).to_pylist()
    assert "late" not in known
    frame = recommender.recommend(users, k=10, exclude_seen=False)
    assert "late" in set(frame[c.ITEM_ID])  # everybody took it lately
    assert len(recommender.similar("late", k=3)) == 3


def test_the_export_has_the_counts_of_all_events(run):
    """β of −10⁶ leaves popularity alone: the order is that of the counts in the whole log."""
    log, loaded = run.recommender.served.log, tf.saved_model.load(str(run.path))
    answer = loaded.signatures["serving_default"](
        user_id=tf.constant(["u1"]), k=tf.constant(toy.ITEMS + 1), popularity_beta=tf.constant(-1e6),
        exclude_ids=tf.zeros([1, 0], tf.string), allow_ids=tf.zeros([1, 0], tf.string),
    )
    counts = dict(zip(log.items[c.ITEM_ID].to_pylist(), np.bincount(log.item)))
    shown = [counts[i.decode()] for i in answer["ids"].numpy()[0]]
    assert shown == sorted(counts.values(), reverse=True)


def test_what_is_measured_is_the_training_that_did_not_see_it(run, tmp_path):
    assert run.recommender.evaluate()["test"] == run.before["test"]
    assert all(np.array_equal(v, run.evaluated[k]) for k, v in toy.weights(run.recommender).items())
    again = Recommender.load(run.recommender.directory, interactions=late_log()[0])
    evaluated = again.evaluate()
    assert (evaluated["test"], evaluated["training"]) == (run.before["test"], run.before["training"])
    found = manifest.read(run.path)
    assert found["metrics"] == run.before["test"]
    log, held_out = again.assembly.log, len(again.assembly.log) - len(again.assembly.split.train)
    assert found["trained_on"] == {
        "events": len(log), "until": int(log.timestamp[-1]), "refit": True, "held_out": held_out,
    }
    assert found["training_events"] == len(log)


def test_a_loaded_run_serves_the_refit_and_its_lineage_says_until_when(run):
    again, users = Recommender.load(run.recommender.directory, interactions=late_log()[0]), ["u1", "u2"]
    assert again.recommend(users).equals(run.recommender.recommend(users))
    assert again.served is not again.assembly
    kept, evaluated = runs.weights(again.directory), runs.read_config(again.directory)
    assert kept.folder.name == runs.REFIT and kept.embedding_space != evaluated.embedding_space
    assert runs.weights(again.directory, evaluated.embedding_space).folder.name == runs.CHECKPOINT
    (link,) = lineage(again.directory)
    assert link["trained_until"] == int(again.served.log.timestamp[-1]) > evaluated.trained_until
    assert link["embedding_space"] == manifest.read(run.path)["embedding_space"] == kept.embedding_space


def test_one_that_was_not_finished_is_not_served_and_goes_on(run):
    """As if it had been killed after its last step: what it kept last is all that a second call needs."""
    directory, done = run.recommender.directory, run.recommender.directory / runs.REFIT / "done.json"
    kept, learned = done.read_text(), [v.numpy() for v in run.recommender.served.model.trainable_variables]
    done.unlink()
    try:
        again = Recommender.load(directory, interactions=late_log()[0])
        assert again.served is again.assembly
        again.refit(verbose=0)  # the run knows how many epochs validation chose
        assert all(np.array_equal(a, b) for a, b in zip(learned, again.served.model.trainable_variables, strict=True))
        assert json.loads(done.read_text()).keys() == json.loads(kept).keys()
        before = done.read_text()
        again.refit(verbose=0)  # there is nothing left to do
        assert done.read_text() == before
    finally:
        done.write_text(kept)


@pytest.mark.parametrize("split", [Temporal(), LeaveLastOut(), UserHeldOut(), RandomHoldout()], ids=str)
def test_every_split_can_be_refit(split):
    """Vocabularies, counts, histories and the catalogue are then of all events, whatever was held out."""
    frame, late = late_log()
    log, _ = ingest(Frames(frame))
    a = assemble(dataclasses.replace(recipe(), split=split), log, held_out=False)
    assert a.train_counts.sum() == len(log) and len(a.catalogue) == log.items.num_rows
    items = log.items[c.ITEM_ID].to_pylist()
    assert a.train_counts[items.index("late")] == late
    assert a.model.candidate_tower.fields[0].size == log.items.num_rows
    rows = np.flatnonzero(log.user == log.user[-1])
    assert a.examples.history.before(rows[-1:], 2)[0].tolist() == [log.item[rows[-3:-1]].tolist()]
    assert len(a.batches._rows) == len(log)


def test_every_item_of_the_table_is_in_the_catalogue(tmp_path):
    """One that has an id and nothing else, and no event, too."""
    frames, _ = toy.planted()
    ids = frames["items"][[c.ITEM_ID]]
    ids.loc[len(ids)] = ["unsold"]
    log, _ = ingest(Frames(frames["interactions"], items=ids))
    for held_out in (True, False):
        a = assemble(recipe(), log, held_out=held_out)
        known = log.items[c.ITEM_ID].take(a.catalogue).to_pylist()
        assert ("unsold" in known) is not held_out


def test_it_ends_with_the_average_of_the_weights(tmp_path):
    run = Recommender(recipe(epochs=1, average=0.9), late_log()[0], directory=tmp_path).fit(verbose=0).refit(verbose=0)
    last = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(tmp_path / runs.REFIT / "last")))
    for i, weight in enumerate(run.served.model.trainable_variables):
        average, of_last_step = (
            last.get_tensor(f"average/{name}/{i}/.ATTRIBUTES/VARIABLE_VALUE") for name in ("averages", "_weights")
        )
        np.testing.assert_array_equal(weight.numpy(), average)
        assert not np.array_equal(average, of_last_step)


def test_a_refit_of_0_2_0_loads_with_the_neighbours_that_it_was_trained_with(tmp_path):
    """Its settings have no powers. Those of today are several, and a refit has no queries to choose by."""
    settings = toy.recipe(epochs=1)
    model = dataclasses.replace(settings.model, neighbours=Neighbours(dim=8, penalties=(10.0,), weights=(1.0,)))
    neighbours = dataclasses.replace(model.neighbours, user_power=0.0, item_powers=(0.0,))
    new = dataclasses.replace(settings, model=dataclasses.replace(model, neighbours=neighbours))
    frames = toy.planted()[0]
    log = ingest(Frames(**frames))[0]
    runs.write_config(tmp_path, runs.RunConfig(new, "space", log.fingerprint(), 0, None))
    file = tmp_path / runs.CONFIG
    config = json.loads(file.read_text())
    for name in ("user_power", "item_powers"):
        del config["recipe"]["model"]["neighbours"][name]
    file.write_text(json.dumps(config))
    assert runs.read_config(tmp_path).recipe == new
    a = assemble(dataclasses.replace(settings, model=model), log, held_out=False)
    assert a.recipe.model.neighbours == model.neighbours  # nothing chooses
