"""Statistics of items in training: as of each event's hour, of other rows' hours as negatives, and in an evaluation."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import toy

from tfrs_twotower.data import Frames, Queries, Ragged, ingest
from tfrs_twotower.data.statistics import HOUR, happenings
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import History, Id, ItemStatistic, Schema, UserStatistic
from tfrs_twotower.losses import FullSoftmax
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.training.optimizers import build

COUNT = ItemStatistic(hours=(6, 0))
SCHEMA = Schema(query=(Id("user_id", dim=4),), candidate=(Id("item_id", dim=4), COUNT, ItemStatistic("recency")))
START = 480_000


def trendy(days=12, items=24, per_hour=12, seed=0):
    """Events whose items are in fashion for six hours each, one after the other; nothing else tells them apart."""
    rng = np.random.default_rng(seed)
    hours = np.repeat(np.arange(days * 24), per_hour)
    now = (hours // 6) * 7 % items  # the item in fashion
    item = np.where(rng.random(len(hours)) < 0.7, now, rng.integers(items, size=len(hours)))
    return pd.DataFrame({
        "user_id": [f"u{user}" for user in rng.integers(50, size=len(hours))], "item_id": [f"i{i}" for i in item],
        "timestamp": (START + hours) * HOUR + rng.integers(HOUR, size=len(hours)),
    })


def _assemble(schema=SCHEMA, **model):
    log, _ = ingest(Frames(trendy()))
    recipe = dataclasses.replace(toy.recipe(known_positives=0), schema=schema)  # every user met every item
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, **model))
    return assemble(recipe, log)


@pytest.fixture(scope="module")
def assembled():
    return _assemble()


def _counted(log, item, hour, window):
    hours = log.timestamp // HOUR
    return int(((log.item == item) & (hours < hour) & ((hours >= hour - window) | (window == 0))).sum())


def test_a_batch_has_the_counts_before_the_hour_of_each_event(assembled):
    a, rows = assembled, assembled.batches.rows(0)
    batch = next(iter(a.batches.dataset(0, 1)))
    hours = a.log.timestamp[rows] // HOUR
    np.testing.assert_array_equal(batch["candidate_hour"], hours)
    counts = [[_counted(a.log, i, h, w) for w in (6, 0)] for i, h in zip(a.log.item[rows], hours)]
    field = a.examples.statistics.fields[0]
    found = batch["candidate"][field.name]["value"]
    expected = (np.log1p(np.float32(counts)) - field.state()["mean"]) / field.state()["deviation"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    values = a.examples.statistics.values(a.log.item[rows], hours)[COUNT.column]
    np.testing.assert_array_equal(values, counts)


def test_negatives_stand_at_other_rows_hours_but_not_before_their_first_event(assembled):
    from tfrs_twotower.models.objectives import _others

    assert _others(np.array([5, 6, 9]), 5).numpy().tolist() == [6, 9, 5, 6, 9]
    statistics, log = assembled.examples.statistics, assembled.log
    first = log.timestamp[log.item == 3].min() // HOUR
    assert statistics.there(np.array([3, 3]), np.array([0, first + 5])).numpy().tolist() == [first, first + 5]


def test_the_future_changes_no_batch(assembled):
    a = assembled
    frame = trendy()
    later = frame["timestamp"] >= a.log.timestamp[a.split.train[-1]] // HOUR * HOUR
    frame.loc[later, "item_id"] = "i0"
    log, _ = ingest(Frames(frame))
    order = [log.items["item_id"].to_pylist().index(i) for i in a.log.items["item_id"].to_pylist()]
    rows = a.batches.rows(3)
    hours = a.log.timestamp[rows] // HOUR
    again = type(a.examples.statistics)(a.examples.statistics.fields, log, a.split.train)
    for column, values in a.examples.statistics.values(a.log.item[rows], hours).items():
        np.testing.assert_array_equal(again.values(np.array(order)[a.log.item[rows]], hours)[column], values)


def _next_events(log):
    """Each of the log's last 300 events as a query of its own, whose target is its item."""
    rows = np.arange(len(log) - 300, len(log))
    nothing = Ragged(np.zeros(0, np.int32), np.zeros(301, np.int64))
    return Queries(log.user[rows], log.timestamp[rows], rows, Ragged(log.item[rows], np.arange(301)), nothing)


def test_fashion_is_learned(assembled):
    recall = {}
    for name, a in (("with", assembled), ("without", _assemble(Schema(SCHEMA.query, SCHEMA.candidate[:1])))):
        a.model.compile(optimizer=build(dataclasses.replace(a.recipe.training.optimizer, learning_rate=0.03), 120))
        a.model.fit(a.batches.dataset(0, 120), steps_per_epoch=120, verbose=0)
        queries = _next_events(a.log)
        recall[name] = a.evaluate(queries, a.model_scorer(queries), bootstrap=0, view="all").metrics["recall@5"]
    assert recall["with"] > 0.6 > 0.4 > recall["without"], recall


def test_an_evaluation_has_the_statistics_of_each_querys_hour(assembled, monkeypatch):
    a, queries = assembled, _next_events(assembled.log)
    hours, at = a._moments(queries)
    np.testing.assert_array_equal(hours[at], queries.timestamp // HOUR)
    scores = a.model_scorer(queries).scores(0, 300)
    own = a.model.candidate_tower(a.examples.candidates(a.catalogue, int(hours[at][7])))
    expected = a.query_vectors(queries.row[7:8]) / a.model.temperature @ own.numpy().T
    np.testing.assert_allclose(scores[7], expected[0], rtol=1e-4, atol=1e-5)
    monkeypatch.setattr("tfrs_twotower.pipeline.assembly._MOVING_ROWS", 4 * len(a.catalogue))
    hours, at = a._moments(queries)  # at most 4 moments, none of them in a query's future
    assert len(hours) <= 4 and (hours[at] <= queries.timestamp // HOUR).all()
    assert (hours >= a.examples.statistics.latest).all()


def test_what_a_user_did_is_the_same_in_training_and_in_a_request():
    past = (UserStatistic(length=7, hours=(1, 24, 0)), History(length=20))
    a = _assemble(Schema((Id("user_id", dim=4), *past), SCHEMA.candidate[:1]))
    rows, field = np.arange(500, 600), a.model.query_tower.fields[1]
    trained, asked = a.examples.queries(rows), a.examples.raw_queries(rows, 60)
    values = field.values(trained[field.name]).numpy()
    np.testing.assert_array_equal(values, field.values(field.encode(asked)))
    log = a.log
    before = (log.user == log.user[550]) & (np.arange(len(log)) < 550)
    times = log.timestamp[before][-7:]
    counts = [(log.timestamp[550] - times <= hours * HOUR).sum() for hours in (1, 24)]
    np.testing.assert_allclose(values[50][:3], np.log1p([*counts, len(times)]), rtol=1e-6)


def test_an_event_that_is_hidden_does_not_count():
    log, _ = ingest(Frames(trendy(days=1)))
    assert len(happenings(log, np.arange(len(log)) < 10).item) == 10


@pytest.mark.parametrize("schema, model, expected", [
    (SCHEMA, {"loss": FullSoftmax()}, "model.loss"),
    (Schema((Id("user_id"), COUNT), (Id("item_id"),)), {}, "no feature of a query"),
])
def test_what_cannot_move_is_refused(schema, model, expected):
    with pytest.raises(ConfigError, match=expected):
        _assemble(schema, **model)
