"""Executors that are processes of their own write files, find figures and prepare a log as one machine does."""

import dataclasses
import json
import shutil
import threading
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prepared_sources import NOON
from prepared_sources import assert_same as assert_same_log
from prepared_sources import shop, texts, without_times
from spark_cluster import MASTER, spark

from tests.serving import shop_export
from tfrs_twotower.cli.main import main
from tfrs_twotower.data import Files, Frames, Prepared, Ragged, Rules, Spark, ingest, keep_log, prepare
from tfrs_twotower.errors import ConfigError, DataError
from tfrs_twotower.evaluation import (
    EASE,
    IALS,
    BoughtBefore,
    DotScorer,
    ItemKNN,
    Parts,
    Popularity,
    evaluate_each,
    history_matrix,
)
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.batch import Batch, What, write_batch, write_shard
from tfrs_twotower.pipeline.batch_on_spark import OnSpark
from tfrs_twotower.pipeline.requests import Live


@pytest.fixture(scope="module")
def cluster():
    with spark() as session:
        assert session.sparkContext.master == MASTER
        yield session


@pytest.fixture(scope="module")
def model(trained, tmp_path_factory):
    """The export that the tasks of a batch would load, to be copied to where the batch looks for it."""
    folder = tmp_path_factory.mktemp("export")
    trained.export(folder, force=True)
    return folder


def assert_same(folder, other):
    """The same files, columns, ids and, up to rounding, numbers."""
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in other.iterdir())
    for part in folder.glob("part-*"):
        one, two = pq.read_table(part), pq.read_table(other / part.name)
        assert one.schema == two.schema
        for name in one.column_names:
            a, b = one[name].combine_chunks(), two[name].combine_chunks()
            if name in ("scores", "vector"):
                np.testing.assert_allclose(a.flatten(), b.flatten(), rtol=1e-5, atol=1e-6)
                assert name == "vector" or a.offsets.equals(b.offsets)
            else:
                assert a.equals(b)


@pytest.mark.parametrize("what", get_args(What))
def test_it_is_the_batch_of_one_machine(what, trained, model, tmp_path, cluster):
    if what != "recommendations":  # this one makes its own export
        shutil.copytree(model, tmp_path / "there" / "_model")
    here = trained.batch(tmp_path / "here", what, k=5, shard=64, verbose=0)
    assert_same(trained.batch(tmp_path / "there", what, k=5, shard=64, verbose=0, engine=Spark()), here)


def test_it_goes_on_where_either_engine_stopped_with_the_export_that_it_began_with(trained, model, tmp_path, cluster):
    here = trained.batch(tmp_path / "here", k=5, shard=64, exclude_seen=True, verbose=0)
    there = trained.batch(tmp_path / "there", k=5, shard=64, exclude_seen=True, verbose=0)
    kept = {part: part.stat().st_mtime_ns for part in there.glob("part-*")}
    for gone in ("part-00001.parquet", "part-00003.parquet", "_SUCCESS"):
        (there / gone).unlink()
    shutil.copytree(model, there / "_model")
    (there / "_part-00001.killed").write_bytes(b"half")
    args = ["batch", str(trained.directory), "--out", str(there), "-k", "5", "--shard", "64", "--exclude-seen"]
    assert main([*args, "--engine", "spark", "--spark", "spark.ui.enabled=false"]) == 0
    assert [p.stat().st_mtime_ns == kept[p] for p in sorted(kept)] == [True, False, True, False]
    assert_same(there, here)


def test_a_whole_batch_asks_no_engine_and_another_export_is_not_made(trained, model, tmp_path, cluster):
    def export(root):
        raise AssertionError("there is an export")

    batch, log = Batch("item-vectors", 1, False, 64), trained.directory / runs.LOG
    space, folder = trained._serving()[1].embedding_space, tmp_path / "out"
    shutil.copytree(model, folder / "_model")
    write_batch(OnSpark(Spark(), log, export), batch, 100, space, folder, progress=False)
    assert [pq.read_metadata(part).num_rows for part in sorted(folder.glob("part-*"))] == [64, 36]
    shutil.copytree(model, folder / "_model")  # as a process leaves it that is killed after its last file
    write_batch(None, batch, 100, space, folder, progress=False)
    assert not (folder / "_model").exists()


class SameProcess:
    """An engine whose one executor outlives each batch, as Spark's do in a session that goes on."""

    def each(self, function, tasks):
        """See `Spark`."""
        return [function(task) for task in tasks]


def test_an_executor_that_lives_on_takes_the_model_of_each_batch(tmp_path, monkeypatch):
    rows = pa.table({"user_id": ["u1"] * 6, "item_id": list("abcdef"), "timestamp": [1_600_000_000] * 6})
    keep_log(*ingest(Frames(rows)), tmp_path / "log")
    engine = OnSpark(SameProcess(), tmp_path / "log", lambda root: shop_export.write(root, 1))
    for first in ([1, 0], [7, 0]):
        monkeypatch.setattr(shop_export, "VECTORS", np.array([first, *shop_export.VECTORS[1:]], np.float32))
        folder = write_batch(engine, Batch("item-vectors", 1, False, 6), 6, "s", tmp_path / "out", progress=False)
        assert pq.read_table(folder / "part-00000.parquet")["vector"][0].as_py() == first
        shutil.rmtree(folder)


def test_a_shard_that_two_tasks_write_at_once_is_whole(trained, tmp_path):
    live, batch = Live.of(trained.served), Batch("recommendations", 5, False, 64)
    tasks = [threading.Thread(target=write_shard, args=(live, trained.retriever, batch, tmp_path, 3)) for _ in "ab"]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert [p.name for p in tmp_path.iterdir()] == ["part-00003.parquet"]
    assert pq.read_table(tmp_path)["user_id"].to_pylist() == live.log.users["user_id"].to_pylist()[192:]


def test_a_run_without_its_log_is_refused(tmp_path):
    engine = OnSpark(Spark(), tmp_path / "log", lambda root: root)
    with pytest.raises(ConfigError, match="`engine` must have the log in the run's folder"):
        write_batch(engine, Batch("user-vectors", 1, False, 10), 10, "space", tmp_path / "out", progress=False)


def test_an_index_in_another_server_is_refused_before_the_work(trained, tmp_path, monkeypatch):
    index = dataclasses.replace(trained.recipe.index, kind="milvus:http://localhost:1")
    monkeypatch.setattr(trained, "recipe", dataclasses.replace(trained.recipe, index=index))
    with pytest.raises(ConfigError, match="`engine` must have an index that its tasks can hold.*twotower index RUN"):
        trained.batch(tmp_path / "out", engine=Spark())
    assert not (tmp_path / "out").exists()


def test_settings_of_spark_belong_to_spark(trained, tmp_path, capsys):
    assert main(["batch", str(trained.directory), "--out", f"{tmp_path}/out", "--spark", "a=b"]) == 1
    assert "`--spark` does not belong to `--engine here`" in capsys.readouterr().err


def test_an_evaluation_in_tasks_has_the_figures_of_one_pass(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr("tfrs_twotower.evaluation.ranking.rows_at_once", lambda catalogue: 32)
    generator = np.random.default_rng(0)
    vectors = [generator.normal(size=(n, 8)) for n in (300, 40)]
    histories, targets = (Ragged.from_lists(generator.integers(0, 40, (300, n))) for n in (6, 2))
    visits, counts = history_matrix(histories, 40, "all"), np.bincount(histories.values, minlength=40)
    scorers = {
        "dot": DotScorer(*vectors, np.ones(40)), "popularity": Popularity(counts, 300),
        "bought": BoughtBefore(histories, counts),
        "ease": EASE(visits, 10.0).scorer(visits), "knn": ItemKNN(visits, 10).scorer(visits),
        "ials": IALS(visits, 2.0, 0.1, 2).scorer(visits),
    }
    asked = {name: (scorer, targets, None) for name, scorer in scorers.items()}
    found = evaluate_each(asked, counts, (5,), bootstrap=20, parts=Parts(tmp_path, 128, Spark()))
    assert len(list(tmp_path.iterdir())) == 3 * len(scorers)
    for name, expected in evaluate_each(asked, counts, (5,), bootstrap=20).items():
        for field in dataclasses.fields(expected):
            np.testing.assert_equal(getattr(found[name], field.name), getattr(expected, field.name))


def test_a_run_is_evaluated_by_a_task(trained, tmp_path, cluster, capsys):
    run = shutil.copytree(trained.directory, tmp_path / "run")
    assert main(["evaluate", str(run), "--engine", "spark", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test"] == pytest.approx(trained.evaluate()["test"])
    assert not (run / runs.RANKS).exists()
    with pytest.raises(ConfigError, match="`engine` must have neither `scores`"):
        trained.evaluate(scores=trained.recommend(["u1"]), engine=Spark())


@pytest.mark.parametrize("source", [shop, without_times, texts])
def test_it_is_the_log_that_ingest_gives(source, tmp_path, cluster, monkeypatch):
    source = source(tmp_path)
    monkeypatch.chdir(tmp_path)  # the executors have folders of their own
    prepare(source, "prépared set", Spark(), Rules(limit=1))
    expected = ingest(source, limit=1, rejected_to=tmp_path / "rejected.parquet")
    assert_same_log(Prepared(f"{tmp_path}/prépared set").read(), expected)


def test_what_a_task_refuses_is_refused_in_its_words(tmp_path, cluster):
    (tmp_path / "log").mkdir()
    for name, item in (("a", 1), ("b", "x")):
        rows = pa.table({"user_id": ["u"], "item_id": [item], "timestamp": [NOON]})
        pq.write_table(rows, tmp_path / "log" / f"{name}.parquet")
    with pytest.raises(DataError, match="b.parquet: column `item_id` is string here and int64 elsewhere"):
        prepare(Files(f"{tmp_path}/log"), tmp_path / "prepared", Spark())
