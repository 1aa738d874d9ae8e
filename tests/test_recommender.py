"""The Python API on planted data: what the planting says must come out."""

import copy
import dataclasses
import gc
import json
import shutil
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf
import toy

from tfrs_twotower import recipes
from tfrs_twotower.cli.main import main
from tfrs_twotower.configuration import override
from tfrs_twotower.data import Frames, ingest
from tfrs_twotower.errors import ConfigError, DataError, TrainingError
from tfrs_twotower.evaluation import Popularity
from tfrs_twotower.features import Id, Schema
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembling import completed
from tfrs_twotower.pipeline.batch import _write
from tfrs_twotower.pipeline.requests import live_requests
from tfrs_twotower.pipeline.searching import Validation
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.recommender import Recommender

pytestmark = pytest.mark.usefixtures("two_signatures")


def _cluster_of(items, truth):
    return truth.item_cluster[[int(i[1:]) for i in items]]


def test_recommends_from_the_users_own_cluster(trained):
    _, truth = toy.planted()
    users = [f"u{u}" for u in range(20)]
    frame = trained.recommend(users, k=5, exclude_seen=False)
    hits = [
        (_cluster_of(group["item_id"], truth) == truth.user_cluster[int(user[1:])]).mean()
        for user, group in frame.groupby("user_id")
    ]
    assert np.mean(hits) > 0.75  # 0.25 by chance


def test_beats_popularity_by_more_than_the_interval(trained):
    metrics = trained.evaluate()
    assert metrics["beats"]["popularity"]["recall@10"]["interval"][0] > 0
    assert set(metrics["baselines"]["popularity"]) == set(metrics["test"])
    assert metrics["protocol"]["catalogue"] == toy.ITEMS
    assert metrics["collapse"]["message"] is None


def test_repeats_count_where_people_come_back_and_both_views_are_told(trained):
    """The planted users have 40 events among some 25 items of theirs: nearly all of their targets are repeats."""
    a, found = trained.assembly, trained.evaluate()
    assert runs.read_config(trained.directory).recipe.evaluation.exclude_seen is False
    assert trained.recipe.evaluation.exclude_seen is False
    seen = [len(set(a.split.test.targets.row(i)) & set(a.split.test.seen.row(i))) for i in range(len(a.split.test))]
    repeats, discovery = found["views"]["repeats"], found["views"]["discovery"]
    assert repeats["targets"] == sum(seen) and repeats["queries"] == np.count_nonzero(seen)
    assert repeats["targets"] + discovery["targets"] == found["protocol"]["targets"]
    assert found["protocol"]["repeats"] == pytest.approx(sum(seen) / found["protocol"]["targets"])
    assert set(repeats["metrics"]) == {"model", *found["baselines"]}
    on_both_sides = a.evaluate(a.split.test, a.model_scorer(a.split.test), bootstrap=0, view="discovery").metrics
    assert discovery["metrics"]["model"] == on_both_sides


def test_a_sample_of_the_test_queries_is_the_same_for_all_and_all_are_asked_by_a_flag(trained, tmp_path, capsys):
    whole, run = len(trained.assembly.split.test), shutil.copytree(trained.directory, tmp_path / "run")
    config = runs.read_config(run)
    recipe = override(config.recipe, ["evaluation.test_queries=50"])
    runs.write_config(run, dataclasses.replace(config, recipe=recipe))
    loaded = Recommender.load(run)
    found = loaded.evaluate()
    assert found["protocol"]["sample"] == {"queries": 50, "of": whole, "seed": 0} and whole > 100
    assert f"50 of {whole} test queries, drawn by seed 0" in str(found)
    assert {len(e.per_query["mrr"]) for e in loaded.evaluations.values()} == {50}
    assert len({e.targets_sha256 for e in loaded.evaluations.values()}) == 1
    other = copy.copy(loaded.assembly)
    other.recipe = override(recipe, ["training.seed=7"])  # runs of two seeds can be compared
    assert other.asked().row.tolist() == loaded.assembly.asked().row.tolist()
    assert set(other.asked().row) < set(other.split.test.row) and len(other.asked("validation")) == 50
    assert main(["evaluate", str(run), "--all-queries", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["protocol"]["sample"] is None and printed["test"] == pytest.approx(trained.evaluate()["test"])
    assert not (run / runs.RANKS).exists()  # what is ranked is kept until all is


def test_validation_chooses_the_weight_of_popularity(trained):
    a = copy.copy(trained.assembly)
    a.recipe = override(a.recipe, ["model.popularity_weights=[0.0, 1000000.0]"])
    queries, monitor = a.split.validation, a.recipe.training.monitor
    found = {weights.popularity: metrics[monitor] for weights, metrics in Validation(a).by_weights().items()}
    popularity = a.evaluate(queries, Popularity(a.train_counts, len(queries)), bootstrap=0).metrics[monitor]
    assert found[1_000_000.0] == pytest.approx(popularity, abs=0.02)  # ties of counts are the towers' to break
    alone = a.evaluate(queries, a.model_scorer(queries), bootstrap=0).metrics[monitor]
    assert found[0.0] == pytest.approx(alone) and alone > popularity


def test_a_run_is_loaded_with_its_weight_of_popularity(trained, tmp_path):
    run = shutil.copytree(trained.directory, tmp_path / "run")
    runs.write_json(run / runs.POPULARITY, {"weight": 1e6})
    frames, _ = toy.planted()
    loaded = Recommender.load(run, **frames)
    a = loaded.assembly
    counts = dict(zip(a.log.items["item_id"].take(a.catalogue).to_pylist(), a.train_counts))
    shown = [counts[i] for i in loaded.recommend("u3", k=toy.ITEMS, exclude_seen=False)["item_id"]]
    assert shown == sorted(counts.values(), reverse=True)


def test_seen_items_are_left_out_and_come_back(trained):
    frames, _ = toy.planted()
    log = frames["interactions"]
    seen = set(log[log["user_id"] == "u3"]["item_id"])
    without = set(trained.recommend("u3", k=toy.ITEMS, exclude_seen=True)["item_id"])
    assert without == {f"i{i}" for i in range(toy.ITEMS)} - seen
    assert seen & set(trained.recommend("u3", k=10, exclude_seen=False)["item_id"])


def test_unknown_user_is_served(trained):
    assert len(trained.recommend("unknown", k=7)) == 7


def test_similar_items_share_the_cluster_and_leave_out_the_item(trained):
    _, truth = toy.planted()
    found = trained.similar("i5", k=5)["item_id"].tolist()
    assert "i5" not in found
    assert (_cluster_of(found, truth) == truth.item_cluster[5]).mean() >= 0.8


def test_a_recipe_by_name_or_with_a_source_of_its_own_is_refused_with_a_way_out():
    frames, _ = toy.planted()
    with pytest.raises(ConfigError, match=r"`recipe` must be a Recipe.*tt.recipes.load"):
        Recommender("plain", **frames)
    with pytest.raises(ConfigError, match=r"source=MovieLens.*`recipe.on\(None\)` is a recipe for frames"):
        Recommender(recipes.load("gru4rec"), **frames)
    assert Recommender(recipes.load("gru4rec").on(None), **frames).recipe.schema is None


def test_unknown_item_offers_the_nearest(trained):
    with pytest.raises(DataError, match="Did you mean"):
        trained.similar("i500", k=5)


def test_a_loaded_run_answers_as_the_trained_one(trained):
    frames, _ = toy.planted()
    again = Recommender.load(trained.directory, **frames)
    pd.testing.assert_frame_equal(again.recommend(["u1", "u2"], k=5), trained.recommend(["u1", "u2"], k=5))
    assert toy.same_weights(again, trained)


def test_a_run_of_frames_is_loaded_without_them(trained):
    again = Recommender.load(trained.directory)
    pd.testing.assert_frame_equal(again.recommend(["u1", "u2"], k=5), trained.recommend(["u1", "u2"], k=5))
    assert again.ingest_report == trained.ingest_report
    assert "200 users, 100 items" in repr(again)


def test_a_run_that_does_not_keep_its_log_asks_for_the_frames(trained, tmp_path):
    run = shutil.copytree(trained.directory, tmp_path / "run")
    shutil.rmtree(run / runs.LOG)
    with pytest.raises(ConfigError, match="trained on frames, and does not keep their log.*interactions="):
        Recommender.load(run)


def test_a_batch_has_the_answers_of_all_users_and_goes_on_where_it_stopped(trained, tmp_path, monkeypatch):
    users = trained.served.log.users["user_id"].to_pylist()
    folder = trained.batch(tmp_path / "out", k=5, shard=64, verbose=0)
    parts = sorted(folder.glob("part-*.parquet"))
    assert [len(pd.read_parquet(part)) for part in parts] == [64, 64, 64, 8] and (folder / "_SUCCESS").is_file()
    found = pd.read_parquet(folder)
    expected = trained.recommend(users, k=5).groupby("user_id", sort=False)
    assert found["user_id"].tolist() == users
    for items, scores, (_, group) in zip(found["item_ids"], found["scores"], expected):
        assert items.tolist() == group["item_id"].tolist()
        np.testing.assert_allclose(scores, group["score"], rtol=1e-6)  # a product of other rows rounds otherwise
    before = {part: part.stat().st_mtime_ns for part in parts}
    parts[1].unlink()
    parts[2].write_bytes(parts[2].read_bytes()[:100])

    def stopped(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("tfrs_twotower.pipeline.batch.write_shard", stopped)
        trained.batch(folder, k=5, shard=64, verbose=0)
    assert not (folder / "_SUCCESS").exists()  # it is not whole any more
    trained.batch(folder, k=5, shard=64, verbose=0)
    assert [part.stat().st_mtime_ns == before[part] for part in parts] == [True, False, False, True]
    assert pd.read_parquet(folder).equals(found) and (folder / "_SUCCESS").is_file()
    with pytest.raises(ConfigError, match="hold the same batch"):
        trained.batch(folder, k=6, shard=64, verbose=0)
    with pytest.raises(ConfigError, match="`folder` must be a folder that can be written"):
        trained.batch(parts[0], verbose=0)


def test_a_batch_that_is_broken_off_says_nothing_more(tmp_path, monkeypatch):
    def blocks():
        yield {"vector": pa.array([0.5])}
        raise KeyboardInterrupt

    said = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)  # what Python says of an error while it removes an object
    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path / "part.parquet", "item_id", pa.chunked_array([[7, 8]]), blocks(), lambda rows: None)
    gc.collect()
    assert not said and not list(tmp_path.iterdir())


def test_a_batch_of_vectors_has_those_of_the_towers(trained, tmp_path):
    a = trained.served
    items = pd.read_parquet(trained.batch(tmp_path / "items", "item-vectors", shard=30, verbose=0))
    np.testing.assert_array_equal(np.stack(items["vector"]), a.candidate_vectors())
    assert items["item_id"].tolist() == a.log.items["item_id"].take(a.catalogue).to_pylist()
    users = pd.read_parquet(trained.batch(tmp_path / "users", "user-vectors", verbose=0))
    features, _ = live_requests(a, users["user_id"].tolist()[:3])
    found = np.stack(users["vector"])
    np.testing.assert_allclose(found[:3], trained.retriever.embed_query(features), rtol=1e-5, atol=1e-6)
    assert len(found) == 200


def test_a_batch_has_the_items_that_its_rules_admit(trained, tmp_path, capsys):
    """As all items by rank, without those that the rules leave out; by the verb from text and from a file."""
    group, first = trained.served.log.items["category"], trained.served.log.items["item_id"][0].as_py()
    wanted = group[0].as_py()
    admitted = {i for i, g in zip(trained.served.log.items["item_id"].to_pylist(), group.to_pylist())
                if g == wanted and i != first}
    everything = pd.read_parquet(trained.batch(tmp_path / "all", k=100, exclude_seen=False, verbose=0))
    (tmp_path / "denied.json").write_text(json.dumps({"item_id": [first]}))
    args = ["batch", str(trained.directory), "--out", str(tmp_path / "some"), "-k", "5", "--include-seen"]
    assert main([*args, "--allow", json.dumps({"category": wanted}), "--deny", str(tmp_path / "denied.json")]) == 0
    some = pd.read_parquet(tmp_path / "some")
    assert len(admitted) > 5 and len(some) == 200
    for found, ranked in zip(some["item_ids"], everything["item_ids"]):
        assert found.tolist() == [item for item in ranked if item in admitted][:5]
    assert main([*args, "--allow", "{}"]) == 1 and "hold the same batch" in capsys.readouterr().err
    for wrong in ("[1]", "{", str(tmp_path / "none"), "[1, 2"):
        assert main([*args, "--allow", wrong]) == 1 and "`--allow` must be a JSON object" in capsys.readouterr().err


@pytest.mark.parametrize("settings, message", [
    ({"what": "users"}, "`what` must be one of"), ({"k": 0}, "must be at least 1"),
    ({"shard": 0}, "must be at least 1"), ({"allow": {"categry": "a"}}, "no attribute `categry`"),
    ({"deny": {"price": {"min": 0}}}, "`allow and deny` must admit an item"),
    ({"what": "item-vectors", "deny": {"price": 1}}, "`what` must be recommendations, to have rules"),
])
def test_a_batch_of_something_else_is_refused(trained, tmp_path, settings, message):
    with pytest.raises((ConfigError, DataError), match=message):
        trained.batch(tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_figures_are_kept_in_the_run_and_print_as_tables(trained):
    figures, run = trained.evaluate(), trained.directory
    assert json.loads((run / runs.METRICS).read_text()) == json.loads(json.dumps(figures))
    assert {"metrics.txt", "per_query.npz"} <= {path.name for path in (run / runs.REPORT).iterdir()}
    heading, *_, verdict = str(figures).splitlines()
    assert heading.split()[:3] == ["metric", "model", *figures["baselines"]][:3]
    assert verdict.startswith("ndcg@10 ") and "best baseline" in verdict
    assert figures._repr_html_().startswith("<table><tr><th>metric</th><th>model</th>")


class Stop(tf.keras.callbacks.Callback):
    """Raises KeyboardInterrupt at an event of a training."""

    def __init__(self, event):
        super().__init__()
        setattr(self, event, self.stop)

    def stop(self, *_):
        raise KeyboardInterrupt


def test_a_constructor_writes_nothing_and_what_is_stopped_before_a_checkpoint_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames, _ = toy.planted()
    ids = Schema(query=(Id("user_id", dim=8),), candidate=(Id("item_id", dim=8),))
    run = Recommender(dataclasses.replace(toy.recipe(epochs=1), schema=ids), **frames)
    assert not list(tmp_path.iterdir()) and repr(run).endswith("not trained. Call fit().")
    with pytest.raises(TrainingError, match="no folder before it is trained"):
        run.directory
    with pytest.raises(TrainingError, match="Call `fit\\(\\)` first"):
        run.refit()
    with pytest.raises(KeyboardInterrupt):
        run.fit(verbose=0, callbacks=[Stop("on_train_batch_begin")])
    assert not list((tmp_path / "runs").iterdir()) and repr(run).endswith("not trained. Call fit().")
    with pytest.raises(KeyboardInterrupt):
        run.fit(verbose=0, callbacks=[Stop("on_epoch_end")])
    kept, = (tmp_path / "runs" / "toy").iterdir()
    stopped = Recommender.load(kept)
    with pytest.raises(TrainingError, match="Call `fit\\(\\)` first"):
        stopped.refit()
    again = Recommender(run.recipe, directory=kept).fit(verbose=0)  # on the log that the run keeps
    assert again._fit_report.steps == toy.steps(kept / "checkpoint") == again.assembly.batches.steps_per_epoch
    assert toy.same_weights(again, stopped)  # there was nothing left to do


@pytest.mark.parametrize("columns, title", [
    (["movie_title", "Title"], "Title"), (["brand", "movie_title"], "movie_title"), (["brand"], None),
])
def test_the_title_is_the_column_that_is_called_so(columns, title):
    events = pd.DataFrame({"user_id": ["a"], "item_id": ["x"], "timestamp": [1]})
    items = pd.DataFrame({"item_id": ["x"], **{name: ["text"] for name in columns}})
    assert completed(Recipe(name="shop"), ingest(Frames(events, items=items))[0]).title == title


def test_latest_points_to_the_run_once_it_is_exported_and_versions_count_over_runs(tmp_path, monkeypatch):
    frames, _ = toy.planted()
    latest = tmp_path / "toy" / "latest"
    ids = Schema(query=(Id("user_id", dim=8),), candidate=(Id("item_id", dim=8),))
    recipe = dataclasses.replace(toy.recipe(epochs=1), schema=ids)
    for version in ("1", "2"):
        run = Recommender(recipe, directory=runs.create(tmp_path, "toy"), **frames).fit(verbose=0)
        assert not latest.exists() or latest.resolve() != run.directory.resolve()
        assert run.export().name == version
        assert latest.resolve() == run.directory.resolve()
        assert runs.read_config(latest).recipe == run.recipe
    served = latest.resolve()
    for part in ("evaluate", "index", "try_report"):
        monkeypatch.setattr(Recommender, part, lambda *arguments: None)
    unserved = Recommender(recipe, directory=runs.create(tmp_path, "toy"), **frames)
    assert unserved.run(export=False, verbose=0) is None
    assert latest.resolve() == served  # servers follow it
    latest.unlink()
    unserved.run(export=False, verbose=0)
    assert latest.resolve() == unserved.directory.resolve()


def test_a_log_that_changed_is_refused(trained):
    frames, _ = toy.planted()
    frames["interactions"] = frames["interactions"].iloc[1:]
    with pytest.raises(DataError, match="is not the one"):
        Recommender.load(trained.directory, **frames)


@pytest.mark.parametrize("damaged", ["checkpoint/fields.npz", "checkpoint/best", "config.json"])
def test_damaged_files_of_a_run_get_one_line(trained, tmp_path, damaged):
    frames, _ = toy.planted()
    copy = tmp_path / "copy"
    shutil.copytree(trained.directory, copy)
    for path in [copy / damaged] if (copy / damaged).is_file() else (copy / damaged).glob("*.data*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises((ConfigError, TrainingError), match="cannot be read"):
        Recommender.load(copy, **frames)


def test_queries_encoded_once_equal_raw_requests(trained):
    """Training and evaluation gather encoded tables; a served request encodes raw values: same vectors."""
    a = trained.assembly
    rows = a.split.test.row[:50]
    raw = a.examples.raw_queries(rows)
    tower = a.model.query_tower
    np.testing.assert_allclose(tower(tower.encode(raw)).numpy(), a.query_vectors(rows), atol=1e-6)


def test_untrained_says_what_to_do(tmp_path):
    frames, _ = toy.planted()
    with pytest.raises(TrainingError, match="Call `fit\\(\\)`"):
        Recommender(toy.recipe(), directory=tmp_path, **frames).evaluate()


def test_a_source_or_frames_not_neither(tmp_path):
    with pytest.raises(ConfigError, match="interactions"):
        Recommender(Recipe(name="x"), directory=tmp_path)


def test_ids_that_are_numbers_work_as_numbers_and_as_text(tmp_path):
    frames, _ = toy.planted()
    for frame, name in ((frames["interactions"], "user_id"), (frames["interactions"], "item_id"),
                        (frames["users"], "user_id"), (frames["items"], "item_id")):
        frame[name] = frame[name].str[1:].astype("int64")
    run = Recommender(toy.recipe(epochs=1), directory=tmp_path / "toy" / "run", **frames).fit(verbose=0)
    number, text = run.recommend(3, k=5), run.recommend("3", k=5)
    assert number["item_id"].tolist() == text["item_id"].tolist() and number["item_id"].dtype == "int64"
    assert run.similar("5", k=3)["item_id"].tolist() == run.similar(5, k=3)["item_id"].tolist()
    assert len(run.recommend(10**15, k=4)) == 4  # unknown
    for ask in (run.recommend, run.similar):
        with pytest.raises(DataError, match="whole number"):
            ask("abc", 3)
    assert run.export().name == "1"
