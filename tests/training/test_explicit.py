"""Negatives that the log names."""

import dataclasses

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import toy

from tfrs_twotower.data import Columns, Frames, LeaveLastOut, RandomPerUser, Shown, Temporal, ingest
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.sampling import Explicit, InBatch
from tfrs_twotower.training import ExplicitNegatives
from tfrs_twotower.training.explicit import shown_before


@pytest.fixture
def log():
    """User 0 likes items 0 to 9 at the times 10, 20 … 100; user 1 likes item 0 at time 5 and nothing else."""
    table = pa.table({"user_id": [1, *[0] * 10], "item_id": [0, *range(10)], "timestamp": [5, *range(10, 101, 10)]})
    log, _ = ingest(Frames(table))
    first = log.user[0]  # the row of user 1

    def row(user):
        return first if user == 1 else 1 - first

    def shown(*triples):
        user, item, time = zip(*sorted(triples, key=lambda t: t[2]))
        return dataclasses.replace(log, shown=Shown(
            np.array([row(u) for u in user], np.int32), np.array(item, np.int32), np.array(time, np.int64)
        ))

    return shown


def test_what_was_shown_after_the_question_or_is_liked_is_no_negative(log):
    shown = log((0, 9, 15), (0, 8, 85), (0, 1, 30), (1, 3, 70), (1, 4, 95), (0, 9, 200))
    late = shown_before(shown, Temporal(0.1, 0.2).split(shown))
    # Training ends with time 70, at item 6; user 0 is asked at 80. Item 1 is liked by user 0.
    assert shown.shown.timestamp[late].tolist() == [15, 70]
    last = shown_before(shown, LeaveLastOut().split(shown))  # user 0 is asked at 90 first, user 1 never
    assert shown.shown.timestamp[last].tolist() == [15, 70]


def test_without_times_all_that_was_shown_counts(log):
    shown = log((0, 9, 0), (1, 3, 0))
    untimed = dataclasses.replace(shown, timestamp=np.zeros(11, np.int64))
    split = RandomPerUser().split(untimed)
    item_9_trains = 9 in untimed.item[split.train][untimed.user[split.train] == untimed.shown.user[0]]
    assert shown_before(untimed, split).tolist() == [not item_9_trains, True]


def test_each_row_gets_items_of_its_user_others_in_each_step(log):
    shown = log(*((1, item, 1) for item in range(1, 10)), (0, 9, 1), (0, 8, 1), (0, 7, 1))
    split = Temporal(0.1, 0.2).split(shown)
    negatives = ExplicitNegatives(shown, (InBatch(), Explicit(count=4)), split, np.arange(9), seed=3)
    rows = np.array([0, 1, 2])  # of user 1, and twice of user 0
    drawn = np.stack([negatives.of(rows, step) for step in range(60)])
    assert drawn.shape == (60, 3, 4) and drawn.dtype == np.int32
    assert np.array_equal(drawn[5], negatives.of(rows, 5))
    assert all(len(set(row)) == 4 for row in drawn[:, 0]) and set(drawn[:, 0].ravel()) == set(range(1, 9))
    for row in drawn[:, 1:].reshape(-1, 4):  # item 9 is outside of the catalogue
        assert sorted(row) == [-1, -1, 7, 8]


def test_a_column_that_is_not_there_is_an_error(log):
    shown = log((0, 9, 1))
    with pytest.raises(ConfigError, match="`Explicit.column` must name a context column"):
        ExplicitNegatives(shown, (Explicit("dropped"),), LeaveLastOut().split(shown), np.arange(9), 0)


def test_items_that_are_never_liked_are_not_recommended(tmp_path):
    """Five items make up half of the rows, all labelled 0: they once filled every first place."""
    frames, _ = toy.planted()
    likes = frames["interactions"].assign(label=1)
    likes = likes[~likes["item_id"].isin([f"i{i}" for i in range(5)])]
    dislikes = likes.assign(label=0, item_id=[f"i{n % 5}" for n in range(len(likes))])
    frames["interactions"] = pd.concat([likes, dislikes])
    columns = Columns(label="label")
    run = Recommender(toy.recipe(epochs=2), columns=columns, directory=tmp_path, **frames).fit(verbose=0)
    assert run.recipe.model.negatives == (InBatch(), Explicit(count=4))  # as config.json says
    assert (run.assembly.batches.batch(0)["explicit_negatives"] >= 0).mean() > 0.9
    offered = run.recommend([f"u{u}" for u in range(toy.USERS)], k=3, exclude_seen=False)["item_id"]
    assert not offered.isin([f"i{i}" for i in range(5)]).any()
