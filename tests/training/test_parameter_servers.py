"""Tables over several parameter servers, steps by workers that do not wait for each other."""

import json
from dataclasses import replace

import distributed
import pytest
import toy
from forked import Forked

from tfrs_twotower.data import Files
from tfrs_twotower.errors import ConfigError, TrainingError
from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.features import Category, History, Id, Schema
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.training import TrainingConfig, parameter_servers

import tensorflow as tf  # isort: skip


def recipe(folder):
    """Of the planted data in `folder`, with a table of users that is large enough for two servers."""
    frames, _ = toy.planted()
    frames["interactions"].to_parquet(folder / "events.parquet")
    frames["items"].to_parquet(folder / "items.parquet")
    schema = Schema(
        query=(Id("user_id", dim=32, buckets=8192), History(length=10)), candidate=(Id("item_id"), Category("category"))
    )
    return replace(
        toy.recipe(epochs=2), schema=schema, evaluation=EvaluationConfig(ks=(5, 10), bootstrap=0),
        source=Files(str(folder / "events.parquet"), items_path=str(folder / "items.parquet")),
    )


def test_large_tables_are_split_by_rows_and_all_else_stays_whole():
    parts = parameter_servers.in_parts(3)
    assert parts(tf.TensorShape([8192, 32]), tf.float32) == [3, 1]  # 1 MiB
    assert parts(tf.TensorShape([8192, 16]), tf.float32) == [2, 1]  # no part is smaller than 256 KiB
    assert parts(tf.TensorShape([100, 32]), tf.float32) == [1, 1]
    assert parts(tf.TensorShape([1_000_000]), tf.float32) == [1]
    assert parts(tf.TensorShape([1_000_000, 2]), tf.int64) == [1, 1]
    assert parts(tf.TensorShape([]), tf.float32) == []


def test_two_servers_and_two_workers_learn_the_planted_answer(tmp_path):
    distributed.write(recipe(tmp_path), tmp_path / "recipe.json")
    command = ["train", tmp_path / "recipe.json", "--folder", tmp_path / "run", "--set", "index.k=10",
               "--distribute", "servers"]
    addresses = distributed.cluster(ps=2, worker=2, chief=1)

    def start(job, index, **kwargs):
        config = json.dumps({"cluster": addresses, "task": {"type": job, "index": index}})
        environment = {"TF_CONFIG": config, "CUDA_VISIBLE_DEVICES": "-1", "TF_NUM_INTRAOP_THREADS": "1"}
        return Forked("distributed:run", command, environment=environment, **kwargs)

    others = [start(job, index, quiet=True) for job in ("ps", "worker") for index in range(2)]
    chief = start("chief", 0)
    try:
        _, errors = chief.communicate(timeout=500)
    finally:
        for process in others:  # they wait for further work
            process.kill()
    assert chief.returncode == 0, errors[-3000:]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["recall@10"] > 1.3 * metrics["baselines"]["popularity"]["recall@10"]
    assert metrics["training"]["steps"] == 50
    # The chief and both servers wrote their weights, of the training on all events too, which is what is exported.
    for training in ("checkpoint", "refit"):
        assert list((tmp_path / "run" / training / "best").glob("*.data-00002-of-00003"))
    manifest = json.loads((tmp_path / "run" / "export" / "1" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["trained_on"]["refit"] and manifest["metrics"] == metrics["test"]
    # The weights on one machine give what the parts gave: no row stands at another one's place.
    lines = (tmp_path / "run" / "checkpoint" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    best = json.loads(lines[metrics["training"]["best_epoch"]])
    found = Recommender.load(tmp_path / "run").evaluate(on="validation")["validation"]
    assert found["recall@10"] == pytest.approx(best["recall@10"], abs=1e-3)
    assert found["mrr"] == pytest.approx(best["mrr"], abs=1e-3)


@pytest.mark.parametrize("settings", [{"average": 0.99}, {"precision": "float16"}])
def test_what_needs_to_see_each_step_is_refused(settings):
    with pytest.raises(ConfigError, match="parameter servers"):
        parameter_servers.check(TrainingConfig(**settings))


@pytest.mark.parametrize("error", [tf.errors.UnavailableError, tf.errors.AbortedError])
def test_without_a_server_the_way_out_is_named(error):
    with pytest.raises(TrainingError, match=r"\(reset by peer\).* the same command, .*--folder: .*last checkpoint"):
        with parameter_servers.servers_needed():
            raise error(None, None, "reset by peer\nmore of it")
