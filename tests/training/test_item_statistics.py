"""Statistics of items in training, as of the first hour of each batch, and in an evaluation, as of each query's."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import toy

from tfrs_twotower.data import Frames, Queries, Ragged, Stretches, ingest
from tfrs_twotower.data.statistics import HOUR, happenings
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import History, Id, ItemStatistic, Schema, UserStatistic
from tfrs_twotower.losses import FullSoftmax
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.rerankers import COLD
from tfrs_twotower.sampling import CrossBatch, InBatch, Popular, Uniform
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
    # Every user met every item. A batch is of five hours.
    recipe = dataclasses.replace(toy.recipe(known_positives=0, batch_size=64), schema=schema)
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, **model))
    return assemble(recipe, log)


@pytest.fixture(scope="module")
def assembled():
    return _assemble()


def _counted(log, item, hour, window):
    hours = log.timestamp // HOUR
    return int(((log.item == item) & (hours < hour) & ((hours >= hour - window) | (window == 0))).sum())


def test_a_batch_is_a_stretch_of_time_and_counts_before_its_first_hour(assembled):
    a, rows = assembled, assembled.batches.rows(0)
    assert rows.tolist() == list(range(rows[0], rows[0] + 64))
    batch, hour = next(iter(a.batches.dataset(0, 1))), a.log.timestamp[rows[0]] // HOUR
    assert set(batch["hour"].numpy().tolist()) == {hour}
    counts = [[_counted(a.log, i, hour, w) for w in (6, 0)] for i in a.log.item[rows]]
    field = a.examples.statistics.fields[0]
    found = batch["candidate"][field.name]["value"]
    expected = (np.log1p(np.float32(counts)) - field.state()["mean"]) / field.state()["deviation"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(a.examples.statistics.values(a.log.item[rows], hour)[COUNT.column], counts)


def test_an_update_knows_new_ids_and_reads_statistics_as_its_parent(assembled):
    parent = assembled.model.candidate_tower
    states = {"query": assembled.model.query_tower.state(), "candidate": parent.state()}
    later = trendy(days=24, items=25, seed=1)
    log, _ = ingest(Frames(pd.concat([trendy(), later[later["timestamp"] >= (START + 288) * HOUR]])))
    grown = assemble(assembled.recipe, log, states, grow=lambda field: True).model.candidate_tower
    ids, *moving = zip(parent.fields, grown.fields)
    assert [len(field.state()["keys"]) for field in ids] == [24, 25]
    assert len(moving) == 2
    for old, new in moving:
        assert {name: value.tolist() for name, value in new.state().items()} == {
            name: value.tolist() for name, value in old.state().items()}


def test_an_epoch_has_each_batch_once_and_other_rows_are_left_out():
    found = [[b.tolist() for b in Stretches(25, 4, seed=0, epoch=epoch)] for epoch in range(40)]
    assert all(len(epoch) == 6 and len({row for b in epoch for row in b}) == 24 for epoch in found)
    assert {sum(map(sum, epoch)) for epoch in found} == {300, 300 - 24}  # the first or the last row is left out
    assert found[0] != found[1] and found[0] == [b.tolist() for b in Stretches(25, 4, 0, 0)]
    in_order = [b[0] for b in Stretches(24, 4, 0, 0, in_order=True)]
    assert in_order == [0, 4, 8, 12, 16, 20]


def test_negatives_are_drawn_as_the_log_has_them_and_not_taken_from_the_batch(assembled):
    assert assembled.recipe.model.negatives == (Popular(64, 1.0),)
    a = _assemble(negatives=(InBatch(), Uniform(7)))
    assert a.recipe.model.negatives == (Popular(64, 1.0), Uniform(7))
    assert not a.model.objective.negatives.in_batch


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
    models = {
        "with": assembled, "softmax over all": _assemble(loss=FullSoftmax()),
        "without": _assemble(Schema(SCHEMA.query, SCHEMA.candidate[:1])),
    }
    for name, a in models.items():
        a.model.compile(optimizer=build(dataclasses.replace(a.recipe.training.optimizer, learning_rate=0.03), 200))
        a.model.fit(a.batches.dataset(0, 200), steps_per_epoch=200, verbose=0)
        queries = _next_events(a.log)
        recall[name] = a.evaluate(queries, a.model_scorer(queries), bootstrap=0, view="all").metrics["recall@5"]
    assert min(recall["with"], recall["softmax over all"]) > 0.6 > 0.4 > recall["without"], recall


def test_an_evaluation_has_the_statistics_of_each_querys_hour(assembled, monkeypatch):
    a, queries = assembled, _next_events(assembled.log)
    hours, at = a._moments(queries)
    np.testing.assert_array_equal(hours[at], queries.timestamp // HOUR)
    scores = a.model_scorer(queries).scores(0, 300)
    own = a.model.candidate_tower(a.examples.candidates(a.catalogue, int(hours[at][7])))
    expected = a.query_vectors(queries.row[7:8]) / a.model.temperature @ own.numpy().T
    np.testing.assert_allclose(scores[7], expected[0], rtol=1e-4, atol=1e-5)
    monkeypatch.setattr("tfrs_twotower.pipeline.training_vectors._MOVING_ROWS", 4 * len(a.catalogue))
    hours, at = a._moments(queries)  # at most 4 moments, none of them in a query's future
    assert len(hours) <= 4 and (hours[at] <= queries.timestamp // HOUR).all()
    assert (hours >= a.examples.statistics.latest).all()


def test_what_a_user_did_is_the_same_in_training_and_in_a_request():
    past = (UserStatistic(length=7, hours=(1, 24, 0)), History(length=20))
    a = _assemble(Schema((Id("user_id", dim=4), *past), SCHEMA.candidate[:1]))
    rows, field = np.arange(500, 600), a.model.query_tower.fields[1]
    trained, asked = a.examples.queries(rows), a.examples.raw_queries(rows, 60)
    values = field.numbers(trained[field.name]).numpy()
    np.testing.assert_array_equal(values, field.numbers(field.encode(asked)))
    log = a.log
    before = (log.user == log.user[550]) & (np.arange(len(log)) < 550)
    times = log.timestamp[before][-7:]
    counts = [(log.timestamp[550] - times <= hours * HOUR).sum() for hours in (1, 24)]
    np.testing.assert_allclose(values[50][:3], np.log1p([*counts, len(times)]), rtol=1e-6)


def test_an_event_that_is_hidden_does_not_count():
    log, _ = ingest(Frames(trendy(days=1)))
    assert len(happenings(log, np.arange(len(log)) < 10).item) == 10


@pytest.mark.parametrize("schema, model, expected", [
    (SCHEMA, {"reranker": COLD()}, "model.reranker"),
    (SCHEMA, {"negatives": (InBatch(), CrossBatch())}, "model.negatives"),
    (Schema((Id("user_id"), COUNT), (Id("item_id"),)), {}, "no feature of a query"),
])
def test_what_cannot_move_is_refused(schema, model, expected):
    with pytest.raises(ConfigError, match=expected):
        _assemble(schema, **model)
