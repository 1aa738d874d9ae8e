"""A log without times: random items of each user are held out, and nothing reads an order."""

import dataclasses

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import toy

from tfrs_twotower.data import (
    Columns,
    Frames,
    LeaveLastOut,
    RandomPerUser,
    Source,
    Temporal,
    TFRecords,
    UserHeldOut,
    ingest,
    write_tfrecords,
)
from tfrs_twotower.errors import ConfigError, DataError
from tfrs_twotower.exporting import manifest
from tfrs_twotower.features import History, Id, Schema, Sequence, Time
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.requests import live_requests
from tfrs_twotower.pipeline.without_times import without_times
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.training import EventWeights
from tfrs_twotower.updates import update_full, update_users

COLUMNS = Columns(timestamp=None)


@pytest.fixture(scope="module")
def untimed(tmp_path_factory):
    """A `Recommender` of the planted data without its times, whose items are drawn by cluster alone."""
    frames, _ = toy.planted()
    frames["interactions"] = frames["interactions"].drop(columns="timestamp")
    folder = tmp_path_factory.mktemp("untimed")
    recipe = dataclasses.replace(toy.recipe(epochs=3), split=Temporal(0.1, 0.2))
    return Recommender(recipe, columns=COLUMNS, directory=folder, **frames).fit(verbose=0)


def test_the_report_says_it_and_the_order_of_the_rows_means_nothing():
    frame = {"user_id": ["a"] * 50, "item_id": [f"i{i:02}" for i in range(50)]}
    log, report = ingest(Frames(pd.DataFrame(frame), columns=COLUMNS))
    assert "no times" in str(report) and not log.timed and not log.timestamp.any()
    assert np.abs(np.corrcoef(log.item, np.arange(50))[0, 1]) < 0.5
    again, _ = ingest(Frames(pd.DataFrame(frame), columns=COLUMNS))
    assert again.fingerprint() == log.fingerprint()


def test_a_part_with_times_and_one_without_are_refused():
    class Two(Source):
        name = "two"

        def interactions(self):
            yield pa.RecordBatch.from_pydict({"user_id": ["a"], "item_id": ["x"], "timestamp": [5]})
            yield pa.RecordBatch.from_pydict({"user_id": ["a"], "item_id": ["x"]})

    with pytest.raises(DataError, match="two: has no times, unlike what was read before"):
        ingest(Two())


def test_the_split_is_random_and_what_goes_by_times_is_refused():
    recipe = Recipe(name="any", split=Temporal(0.05, 0.15))
    assert without_times(recipe).split == RandomPerUser(0.05, 0.15)
    assert without_times(dataclasses.replace(recipe, split=RandomPerUser(0.3, 0.3))).split == RandomPerUser(0.3, 0.3)
    item = (Id("item_id"),)
    for change, what in (
        ({"split": LeaveLastOut()}, "split=LeaveLastOut.*RandomPerUser"),
        # A history would show all that such a user has, the targets among it.
        ({"split": UserHeldOut()}, "split=UserHeldOut.*RandomPerUser"),
        ({"schema": Schema((Sequence(),), item)}, "`sequence` of `schema.query`.*such as `plain`"),
        ({"schema": Schema((History(pooling="decay"),), item)}, "`history_decay`.*pooling='mean'"),
        ({"schema": Schema((Time("timestamp"),), item)}, "of `schema.query`"),
        ({"training": dataclasses.replace(recipe.training, order="time")}, "training.order"),
        ({"training": dataclasses.replace(recipe.training, events=EventWeights(half_life_days=9.0))}, "half_life"),
    ):
        with pytest.raises(ConfigError, match=f"no times, and .*{what}"):
            without_times(dataclasses.replace(recipe, **change))


def test_training_finds_the_planted_clusters(untimed):
    metrics = untimed.evaluate()
    assert metrics["beats"]["popularity"]["recall@10"]["interval"][0] > 0
    assert metrics["protocol"]["split"] == {"type": "RandomPerUser", "validation": 0.1, "test": 0.2}


def test_a_row_never_sees_its_own_item_and_a_query_no_target(untimed):
    a = untimed.assembly
    for rows in (a.split.train, a.split.validation.row, a.split.test.row):
        items, _ = a.examples.history.before(rows, 50)
        assert (items >= 0).any(axis=1).all() and not (items == a.log.item[rows][:, None]).any()
    for queries in (a.split.validation, a.split.test):
        shown = a.examples.history.before(queries.row, 50)[0]
        for i in range(len(queries)):
            assert not set(queries.targets.row(i)) & set(shown[i]) and set(shown[i]) - {-1} <= set(queries.seen.row(i))


def test_a_loaded_run_recommends_by_all_that_a_user_has(untimed):
    frames, _ = toy.planted()
    frames["interactions"] = frames["interactions"].drop(columns="timestamp")
    loaded = Recommender.load(untimed.directory, columns=COLUMNS, **frames)
    users = ["u0", "u1", "nobody"]
    assert loaded.recommend(users, 5).equals(untimed.recommend(users, 5))
    features, seen = live_requests(loaded.assembly, users)
    assert features["timestamp"].numpy().tolist() == [0, 0, 0] and features["history_timestamp"].numpy().max() == 0
    history = [[item for item in row if item] for row in features["history_item_id"].numpy()]
    assert len(history[0]) == len(set(history[0])) > 5 and not history[2]
    assert set(history[0]) == set(seen.numpy()[0]) - {b""}


def test_nothing_says_what_is_new_so_there_is_no_update(untimed, tmp_path):
    write_tfrecords(untimed.assembly.log, tmp_path / "log")
    log, _ = ingest(TFRecords(str(tmp_path / "log")))
    assert not log.timed and len(log) == len(untimed.assembly.log)
    recipe = dataclasses.replace(untimed.recipe, source=TFRecords(str(tmp_path / "log")))
    (tmp_path / "run").mkdir()
    runs.write_config(tmp_path / "run", runs.RunConfig(recipe, "space", log.fingerprint(), 0, None))
    with pytest.raises(ConfigError, match="split by time.*Train anew"):
        update_full(tmp_path / "run", None)
    version = tmp_path / "run" / runs.EXPORT / "1"
    version.mkdir(parents=True)
    manifest.write(version, {"embedding_space": "space"})
    with pytest.raises(ConfigError, match="log with times.*Train anew"):
        update_users(tmp_path / "run")
