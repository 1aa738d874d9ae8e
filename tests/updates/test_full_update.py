"""The daily update: what is kept by token, what grows, what is published and what refused."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import toy

from tfrs_twotower import columns as c
from tfrs_twotower.cli.main import main
from tfrs_twotower.data import Columns, Files, Joined, LeaveLastOut, Temporal, joined
from tfrs_twotower.durable import LOCK, lock
from tfrs_twotower.errors import ConfigError, DataError, TrainingError
from tfrs_twotower.exporting import Key, integrity, manifest
from tfrs_twotower.index import IndexConfig
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.pipeline.lineage import lineage
from tfrs_twotower.pipeline.reading import read_behind
from tfrs_twotower.pipeline.requests import live_requests
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.training import LazyAdamConfig, warm_start
from tfrs_twotower.training.optimizers import build
from tfrs_twotower.updates import update_full

pytestmark = pytest.mark.usefixtures("two_signatures")


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """Two days of the planted log as files; the second has users and items that the first has not."""
    folder = tmp_path_factory.mktemp("days")
    frames, _ = toy.planted()
    log = frames["interactions"].sort_values(c.TIMESTAMP, kind="stable")
    late_users, late_items = set(log[c.USER_ID].unique()[-20:]), set(log[c.ITEM_ID].unique()[-10:])
    late = log[c.USER_ID].isin(late_users) | log[c.ITEM_ID].isin(late_items)
    cut = log[c.TIMESTAMP].iloc[int(len(log) * 0.7)]
    first = log[(log[c.TIMESTAMP] < cut) & ~late]
    second = log[log[c.TIMESTAMP] >= cut]
    for name, frame in {"first": first, "second": second}.items():
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / f"{name}.parquet")
    for name in ("users", "items"):
        pq.write_table(pa.Table.from_pandas(frames[name], preserve_index=False), folder / f"{name}.parquet")
    return folder, late_users, late_items


def files(folder, day):
    return Files(
        path=str(folder / f"{day}.parquet"), users_path=str(folder / "users.parquet"),
        items_path=str(folder / "items.parquet"), columns=Columns(),
    )


@pytest.fixture(scope="module")
def served(days, tmp_path_factory):
    """A run on the first day, refit and exported."""
    recipe = dataclasses.replace(toy.recipe(), source=files(days[0], "first"), split=Temporal(0.05, 0.1))
    root = tmp_path_factory.mktemp("runs") / "toy"
    recommender = Recommender(recipe, directory=root / "day-1").fit(verbose=0)
    recommender.evaluate()
    recommender.refit(verbose=0).export()
    return recommender


@pytest.fixture(scope="module")
def update(served, days):
    """The update by the second day. The index of its parent was chosen after the training."""
    runs.write_json(served.directory / runs.POPULARITY, {"weight": 0.125})  # as if validation had chosen it
    Recommender.load(served.directory).index(IndexConfig(kind="faiss_hnsw", target_recall=0.5))
    return update_full(served.directory, files(days[0], "second"), directory=served.directory.parent / "day-2",
                       verbose=0)


def field(recommender, side, name):
    tower = getattr(recommender.served.model, f"{side}_tower")
    return next(f for f in tower.fields if f.name == name)


def test_known_ids_keep_their_rows_and_new_ones_come_after(served, update):
    for side, name in (("query", "id_user_id"), ("candidate", "id_item_id")):
        old, new = field(served, side, name), field(update.recommender, side, name)
        np.testing.assert_array_equal(new.vocabulary.get_vocabulary()[:old.size + 1], old.vocabulary.get_vocabulary())
        assert new.size > old.size
        assert new.table.shape[0] == new.size + 1


def test_second_copies_of_events_are_in_no_history(served, update, days, tmp_path):
    """A store is read from a day before the last time on, as events may come late."""
    first, second = (pq.read_table(days[0] / f"{day}.parquet") for day in ("first", "second"))
    pq.write_table(pa.concat_tables([first.slice(len(first) // 2), second]), tmp_path / "both.parquet")
    both = dataclasses.replace(files(days[0], "first"), path=str(tmp_path / "both.parquet"))
    log, _ = read_behind(served.directory, joined(served.recipe.source, both), limit=0.01)
    a, once = assemble(update.recommender.recipe, log), update.recommender.assembly
    assert len(log) > len(once.log) and len(a.split.train) == len(once.split.train)
    users = range(len(log.users))
    np.testing.assert_array_equal(a.examples.history.latest(users, 50), once.examples.history.latest(users, 50))
    asked = log.users[c.USER_ID].to_pylist()[:20]
    for found, expected in zip(live_requests(a, asked)[0].items(), live_requests(once, asked)[0].items()):
        assert found[0] == expected[0]
        np.testing.assert_array_equal(found[1], expected[1])


def test_the_weight_of_popularity_is_the_parents(update):
    assert update.recommender.served.weights == runs.score_weights(update.directory) == (0.125, 0.0, 0.0)
    assert manifest.read(update.published)["popularity_weight"] == 0.125


def test_the_parts_of_the_log_that_train(served, update):
    a = update.recommender.assembly
    until = int(served.assembly.log.timestamp[-1])  # its refit saw all of it
    trained = a.log.timestamp[a.split.train]
    assert trained.min() > until
    assert trained.max() < a.log.timestamp[a.split.test.row].min() + 1
    assert update.recommender.assembly.batches.steps_per_epoch == len(a.split.train) // a.batches.batch_size
    # Every event since is trained on or evaluates.
    assert len(a.split.past) + len(a.split.train) + (a.log.timestamp > trained.max()).sum() == len(a.log)
    # What is published was trained on what evaluated it, too.
    whole = update.recommender.served
    assert np.array_equal(whole.split.past, a.split.past) and len(whole.split.known) == len(a.log)
    steps = toy.steps(update.recommender.directory / runs.REFIT)
    assert steps == len(whole.split.train) // whole.batches.batch_size
    found, evaluated = manifest.read(update.published), len(a.log) - len(a.split.known)
    assert found["trained_on"] == {
        "events": len(a.log), "until": int(a.log.timestamp[-1]), "refit": True, "held_out": evaluated,
    }
    assert found["metrics"] == update.recommender.evaluations["model"].metrics


def test_the_streaming_correction_goes_on_from_the_past(update):
    """Else every item of the first new batches counts as frequent, which undoes the correction."""
    a = update.recommender.assembly
    variables = [v for v in a.model.variables if isinstance(v, tf.Variable)]  # Keras counts its lookups too
    time = next(v for v in variables if v.name.startswith("time"))
    assert time.numpy() == len(a.split.past) + a.batches.steps_per_epoch * a.batches.batch_size


def test_what_a_user_took_before_the_update_is_no_negative(update):
    """Else an update pushes down what its users are known to like."""
    a = update.recommender.assembly
    rows, batch = a.split.known, a.batches.batch(0)
    first = a.batches.rows(0)[0]
    mine = a.log.item[rows[a.log.user[rows] == a.log.user[first]]]
    row = batch["known_positives"][0]
    assert row[row >= 0].tolist() == mine[::-1][: a.recipe.training.known_positives].tolist()
    assert len(mine) > np.sum(a.log.user[a.split.train] == a.log.user[first])  # some of them are of the past


def test_an_update_is_published_as_the_next_version_of_a_new_space(served, update):
    assert update.reason is None
    assert update.published.name == "2"
    assert (served.directory.parent / "latest").resolve() == update.directory.resolve()
    found = manifest.read(update.published)
    before = manifest.read(served.directory / runs.EXPORT / "1")
    assert found["embedding_space"] != before["embedding_space"]
    assert [link["run"] for link in found["lineage"]] == ["day-2", "day-1"]
    assert found["lineage"][1]["data"] == before["lineage"][0]["data"]
    assert found["catalogue"]["items"] >= before["catalogue"]["items"]


def test_an_index_that_was_chosen_after_the_training_is_kept(update):
    found = json.loads((update.published / "manifest.json").read_text())
    assert found["index_kind"]["type"] == "FaissHNSWKind" and found["index"]["target_recall"] == 0.5
    assert Recommender.load(update.directory).recipe.index.target_recall == 0.5  # so that of the next update is too


def test_new_users_are_served_by_their_own_rows(update, days):
    known = set(update.recommender.assembly.log.users[c.USER_ID].to_pylist())
    late = next(iter(days[1] & known))
    assert len(update.recommender.recommend(late, k=5)) == 5


def test_warm_start_copies_rows_and_slots_by_token(served, days, tmp_path):
    """With a learning rate of nothing, an update is its parent, row for row."""
    still = dataclasses.replace(served.recipe.training, optimizer=LazyAdamConfig(learning_rate=1e-30))
    run = runs.read_config(served.directory)
    runs_folder = tmp_path / "toy" / "still"
    recipe = dataclasses.replace(
        run.recipe, training=dataclasses.replace(still, epochs=1),
        source=Joined((run.recipe.source, files(days[0], "second"))), split=Temporal(0.1, 0.1),
    )
    moved = Recommender(recipe, directory=runs_folder, parent=served.directory).fit(verbose=0)
    for side, name in (("query", "id_user_id"), ("candidate", "id_item_id")):
        old, new = field(served, side, name), field(moved, side, name)
        np.testing.assert_array_equal(new.table[: old.size + 1], old.table)
    old, new = served.served.model, moved.served.model
    for before, after in zip(old.trainable_variables, new.trainable_variables):
        rows = before.shape[0] if before.shape.rank else None
        np.testing.assert_array_equal(after.numpy()[:rows], before.numpy())


def test_slots_of_known_rows_are_kept_and_those_of_new_rows_are_zero(served, update):
    model, old = update.recommender.served.model, field(served, "query", "id_user_id")
    model.compile(optimizer=build(served.recipe.training.optimizer, 1))
    model.optimizer.build(model.trainable_variables)
    warm_start(model, served.directory / runs.REFIT)
    slot = model.optimizer.variables[1]  # the first moments of the first table
    assert slot.shape == field(update.recommender, "query", "id_user_id").table.shape
    best = tf.train.load_checkpoint(str(served.directory / runs.REFIT / "best"))
    expected = best.get_tensor("model/optimizer/_variables/1/.ATTRIBUTES/VARIABLE_VALUE")
    np.testing.assert_array_equal(slot[: old.size + 1], expected)
    assert np.abs(expected).max() > 0
    assert not np.any(slot[old.size + 1:])


def test_a_worse_update_is_refused_and_the_serving_version_stays(served, days, tmp_path):
    root = served.directory.parent
    before = (root / "latest").resolve()
    worse = dataclasses.replace(
        served.recipe.training, optimizer=LazyAdamConfig(learning_rate=3.0), epochs=1  # throws the weights about
    )
    spoiled = root / "spoiled"
    config = runs.read_config(served.directory)
    spoiled.mkdir()
    for name in (runs.CHECKPOINT, runs.REFIT, runs.EXPORT):
        (spoiled / name).symlink_to(served.directory / name)
    runs.write_config(spoiled, dataclasses.replace(config, recipe=dataclasses.replace(config.recipe, training=worse)))
    refused = update_full(spoiled, files(days[0], "second"), directory=root / "refused", verbose=0)
    assert refused.published is None
    assert refused.updated < refused.serving
    assert "fell from" in json.loads((refused.directory / "refused.json").read_text())["reason"]
    assert (root / "latest").resolve() == before
    assert not (refused.directory / runs.EXPORT).exists() and not (refused.directory / runs.REFIT).exists()
    with pytest.raises(ConfigError, match="must have passed its gate.*fell from"):
        refused.recommender.export()
    with pytest.raises(ConfigError, match="fell from.*Update the run that serves"):
        update_full(refused.directory, files(days[0], "third"), directory=root / "third", verbose=0)
    assert [link["refused"] for link in lineage(refused.directory)] == [True, False]
    assert not (refused.directory / runs.EXPORT).exists()


def test_one_that_is_stopped_before_its_gate_and_in_its_refit_is_not_exported_and_ends_as_one_left_alone(
    served, update, days, tmp_path, monkeypatch
):
    trained, run = Recommender.fit, tmp_path / "toy" / "stopped"

    def after_its_training(self, verbose):
        trained(self, verbose)
        raise KeyboardInterrupt

    def at_once(self, verbose):
        raise KeyboardInterrupt

    for step, stopped in (("fit", after_its_training), ("refit", at_once)):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Recommender, step, stopped)
            update_full(served.directory, files(days[0], "second"), directory=run, verbose=0)
        with pytest.raises(ConfigError, match="stopped before its gate"):
            runs.check_passed(run, "")
    runs.check_passed(update.directory, "")
    with lock(run), pytest.raises(TrainingError, match="Another process"):
        update_full(served.directory, files(days[0], "second"), directory=run, verbose=0)
    (tmp_path / "key").write_text("k" * 32)
    key = Key.read(tmp_path / "key")
    again = update_full(served.directory, files(days[0], "second"), directory=run, verbose=0, key=key)
    integrity.check(again.published, key, int(again.published.name))
    kept = [tf.train.load_checkpoint(str(folder / runs.REFIT / "best")) for folder in (run, update.directory)]
    names = [n for n in kept[0].get_variable_to_shape_map() if "_tower/" in n]
    assert len(names) > 10 and [n for n in names if not np.array_equal(*(k.get_tensor(n) for k in kept))] == []


def test_a_log_that_cannot_be_read_leaves_no_folder(served, days, tmp_path):
    with pytest.raises(DataError, match="files that are there .*gone.parquet"):
        update_full(served.directory, files(days[0], "gone"), directory=tmp_path / "new", verbose=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("users_only", [False, True])
def test_an_empty_file_and_one_that_is_learned_change_nothing(served, days, tmp_path, capsys, caplog, users_only):
    log = pq.read_table(days[0] / "first.parquet")
    pq.write_table(log.slice(0, 0), tmp_path / "empty.parquet")
    pq.write_table(log.slice(len(log) // 2), tmp_path / "again.parquet")

    def files_of():
        exported = sorted(p for p in (served.directory / runs.EXPORT).rglob("*") if p.name != LOCK)
        return sorted(served.directory.parent.iterdir()), exported

    before = files_of()
    for name, reason in (("empty", "no new event that is a like"), ("again", "new events already")):
        command = ["update", str(served.directory), "--interactions", str(tmp_path / f"{name}.parquet")]
        assert main([*command, *["--users-only"] * users_only]) == 0
        said = capsys.readouterr().out + caplog.text
        assert f"{reason}. Name others" in said and "Nothing was published" in said
    assert files_of() == before


def test_a_split_that_is_not_by_time_is_refused_unless_nothing_was_held_out(served, days, tmp_path):
    config = runs.read_config(served.directory)
    runs.write_config(tmp_path, dataclasses.replace(
        config, recipe=dataclasses.replace(config.recipe, split=LeaveLastOut())
    ))
    with pytest.raises(ConfigError, match="split by time"):
        update_full(tmp_path, None, directory=tmp_path / "none")
    (tmp_path / runs.REFIT).mkdir()
    runs.write_refit(tmp_path, runs.Refit("space", config.trained_until, 1, 0))  # of one that saw all, all later is new
    with pytest.raises(TrainingError, match="fields.npz cannot be read"):
        update_full(tmp_path, files(days[0], "second"), directory=tmp_path / "none", verbose=0)
