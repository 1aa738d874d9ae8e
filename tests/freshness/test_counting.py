"""A server that counts on from an export has the statistics of a training that knew all events, and their vectors."""

import dataclasses
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import toy

from tests.training.test_item_statistics import START, trendy
from tfrs_twotower.data import Columns, Frames, ingest
from tfrs_twotower.data.statistics import HOUR, SHOWN, Statistic, happenings
from tfrs_twotower.errors import DataError
from tfrs_twotower.evaluation.collapse import collapse
from tfrs_twotower.exporting import read
from tfrs_twotower.features import Id, ItemStatistic, Schema
from tfrs_twotower.freshness import FreshItems, Refresher
from tfrs_twotower.freshness.counting import VersionStatistics
from tfrs_twotower.online import Answer, AnswerLog, Event, Impression, Store, StoreError, open_stores
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.serving.loading import load
from tfrs_twotower.training import EventWeights
from tfrs_twotower.updates import user_update

FEATURES = (
    ItemStatistic(hours=(2, 24, 0)), ItemStatistic("users", "view", hours=(6, 0)),
    ItemStatistic("rate", "buy", hours=(48, 0)), ItemStatistic("recency", "buy"),
)
SCHEMA = Schema(query=(Id("user_id", dim=4),), candidate=(Id("item_id", dim=4), *FEATURES))
COLUMNS = Columns(event="event", label="label")
CUT = START + 200  # hours


@pytest.fixture(scope="module")
def frame():
    """Views and buys, and one of five items that was shown and not chosen."""
    frame, rng = trendy(days=11, per_hour=4), np.random.default_rng(3)
    frame["event"] = rng.choice(["view", "buy"], len(frame), p=[0.7, 0.3])
    frame["label"] = (rng.random(len(frame)) < 0.8).astype(int)
    return frame


@pytest.fixture(scope="module")
def version(frame, tmp_path_factory):
    """(the trained recommender, its loaded export): of the events before `CUT`."""
    folder, past = tmp_path_factory.mktemp("moving"), frame[frame["timestamp"] < CUT * HOUR]
    recipe = dataclasses.replace(toy.recipe(epochs=1, known_positives=0), schema=SCHEMA)
    trained = Recommender(recipe, interactions=past, columns=COLUMNS, directory=folder / "run").fit(verbose=0)
    path = trained.export(folder / "export")
    return trained, load(str(path), 1, read(path))


@pytest.fixture
def fresh(tmp_path, version):
    fresh = FreshItems(tmp_path)
    fresh.attach(version[1])
    yield fresh
    fresh.close()


def test_a_run_is_evaluated_and_reported(version):
    """Its candidates have vectors for each hour; the spread of the vectors is that of the last hour."""
    trained, a = version[0], version[0].assembly
    found = trained.evaluate()["collapse"]
    last = int(a.split.test.timestamp.max()) // HOUR
    expected = collapse(a.query_vectors(a.split.test.row), a.item_vectors(hour=last), np.zeros([1, 10]))
    assert found["candidate_rank"] == pytest.approx(expected.candidate_rank)
    assert trained.report().exists()


def test_an_update_of_one_user_counts_what_all_did_and_knows_the_kinds_of_all(version):
    """The user has views alone; the recipe names buys."""
    a = version[0].served
    new, kinds = a.log.user == a.log.user[-1], a.log.context["event"].to_numpy(zero_copy_only=False)
    context = a.log.context.drop_columns(["event"]).append_column("event", pa.array(np.where(new, "view", kinds)))
    log = dataclasses.replace(a.log, context=context)
    training = dataclasses.replace(a.recipe.training, events=EventWeights((("view", 0.5), ("buy", 2.0))))
    recipe = dataclasses.replace(a.recipe, training=training, history_kinds=("buy",))
    states = {"query": a.model.query_tower.state(), "candidate": a.model.candidate_tower.state()}
    part, _ = user_update._assembled(recipe, log, new, states)
    assert len(part.log) == new.sum() < len(log)
    items, events = np.arange(len(log.items)), happenings(log)
    for feature in FEATURES:
        expected = Statistic.of(feature.spec, events).values(items, np.full(len(items), CUT))
        assert part.examples.statistics.values(items, CUT)[feature.column].tolist() == expected.tolist()


def _events(frame):
    return [
        Event(f"e{row.Index}", row.user_id, row.item_id, row.timestamp, row.event if row.label else SHOWN)
        for row in frame.itertuples()
    ]


def _expected(frame, ids, hour):
    """{column: raw values of the items} by a log of all events."""
    log, _ = ingest(Frames(frame, columns=COLUMNS))
    rows = np.array([log.items["item_id"].to_pylist().index(item) for item in ids])
    events, hours = happenings(log), np.full(len(ids), hour)
    return {f.column: Statistic.of(f.spec, events).values(rows, hours) for f in FEATURES}


def _vectors(trained, ids, raw):
    import tensorflow as tf

    tower = trained.served.model.candidate_tower
    return tower(tower.encode({"item_id": tf.constant(ids), **{k: tf.constant(v) for k, v in raw.items()}})).numpy()


def _assert_current(fresh, version, ids, frame, hour):
    trained, model = version
    raw, statistics = _expected(frame, ids, hour), fresh._attached[id(model.root)].statistics
    for column, values in statistics.values(ids).items():
        np.testing.assert_array_equal(np.array(values, np.float32), raw[column])
    np.testing.assert_allclose(fresh.items(model).vectors(ids), _vectors(trained, ids, raw), atol=1e-5)


def test_an_export_has_the_statistics_at_the_end_of_its_log(fresh, version, frame):
    trained, model = version
    ids = model.catalogue.ids.tolist()
    raw = _expected(frame[frame["timestamp"] < CUT * HOUR], ids, CUT)
    np.testing.assert_allclose(model.catalogue.vectors, _vectors(trained, ids, raw), atol=1e-5)
    assert not fresh.items(model).overlay_ids  # nothing changed


def test_after_each_hour_it_equals_a_training_on_all_events(fresh, version, frame):
    ids = version[1].catalogue.ids.tolist()
    for hour in (CUT + 1, CUT + 2, CUT + 30, CUT + 64):
        so_far = frame[frame["timestamp"] < hour * HOUR + 100]  # some of the hour itself, which does not count yet
        fresh.count(_events(so_far[so_far["timestamp"] >= (CUT - 5) * HOUR]))  # the export knows the first ones
        fresh.refresh(hour * HOUR + 100)
        _assert_current(fresh, version, ids, so_far, hour)
    assert fresh.refresh(hour * HOUR + 200) == 0
    fresh.count(_events(so_far)[-400:])  # sent again
    assert fresh.refresh(hour * HOUR + 300) == 0


def test_changed_and_new_items_keep_their_statistics(fresh, version, frame):
    ids = version[1].catalogue.ids.tolist()
    fresh.change([{"item_id": ids[0]}, {"item_id": "new"}])
    past = frame[frame["timestamp"] < CUT * HOUR]
    _assert_current(fresh, version, ids, past, CUT)
    fresh.count([Event("1", "u1", "new", CUT * HOUR + 5, "view"), Event("2", "u1", "", CUT * HOUR + 5, "search")])
    assert fresh.refresh((CUT + 1) * HOUR) > 1
    statistics = fresh._attached[id(version[1].root)].statistics
    assert statistics.values(["new", "never seen"])[FEATURES[0].column] == [[1, 1, 1], [0, 0, 0]]
    with pytest.raises(DataError, match="item_count"):
        fresh.change([{"item_id": "x", FEATURES[0].column: [1.0, 2.0, 3.0]}])


def test_ids_that_are_numbers(version):
    moving = version[1].moving
    statistics = VersionStatistics(moving, range(moving.items.num_rows))
    assert statistics._coded("3") == 3 and statistics._coded("three") == statistics._coded("1_0") == -1
    assert statistics._coded("999") == statistics._coded("999") == moving.items.num_rows


class _Store:
    """A store of events that fails when it is told to."""

    def __init__(self, events):
        self.kept, self.asked, self.fails = events, [], False

    def events(self, since, until):
        self.asked.append((since, until))
        if self.fails:
            raise StoreError("gone")
        for event in self.kept:
            if since <= event.timestamp < until:
                yield [event]


def test_a_refresher_reads_what_is_new_from_the_store(fresh, version, frame):
    ids, now = version[1].catalogue.ids.tolist(), [(CUT + 3) * HOUR + 7]
    store = _Store(_events(frame))
    refresher = Refresher(fresh, store, seconds=3600.0, clock=lambda: now[0])
    assert refresher.look() > 0 and store.asked == [(version[1].moving.until, now[0] + 1)]
    _assert_current(fresh, version, ids, frame[frame["timestamp"] < now[0]], CUT + 3)
    assert refresher.look() == 0 and len(store.asked) == 1  # nothing to do before the hour is over
    store.fails, now[0] = True, now[0] + 20 * HOUR
    with pytest.raises(StoreError):
        refresher.look()
    store.fails = False
    assert refresher.look() > 0 and store.asked[-1][0] == version[1].moving.until + 1
    _assert_current(fresh, version, ids, frame[frame["timestamp"] < now[0]], CUT + 23)
    refresher.close()


@pytest.mark.parametrize("servers, within", [(1, 7200), (2, 3600)])
def test_what_an_answer_showed_counts_as_in_training(fresh, version, frame, tmp_path, servers, within):
    """Two servers gave an answer each, and what was seen of a was told to the other one."""
    ids, at = version[1].catalogue.ids.tolist(), CUT * HOUR + 10
    statistics = fresh._attached[id(version[1].root)].statistics
    logs = [AnswerLog(tmp_path / "logs" / name, clock=lambda: at + 9 * HOUR) for name in ("answers", "b")[:servers]]
    for name, log in zip("ab", logs * 2):
        log.record([Answer(name, "u1", at, 1, "", {}, {}, [(item, "u2i", 1.0) for item in ids[:4]])])
    early = version[1].moving.until - 1800  # before the export ends, which cannot know yet that nobody chose it
    logs[0].record([Answer("c", "u1", early, 1, "", {}, {}, [(ids[4], "u2i", 1.0)])])
    logs[0].saw([Impression("2", "c", early + 9, [0], [])])
    logs[-1].saw([Impression("1", "a", at + 20, [0, 1, 3], [2])])  # nobody says anything of b
    logs[0].rotate()
    folder = str(tmp_path / "logs")
    for log in logs:
        log.close()
    stores = open_stores(f"sqlite:{tmp_path}/store.db")
    stores.history.append([Event("1", "u1", ids[1], at + 60, "buy", "a"), Event("2", "u2", ids[2], at + 70, "dislike")])
    before, now = np.array(statistics.values(ids[:5])["item_rate_buy_per_shown"]), at + 3 * HOUR
    refresher = Refresher(fresh, stores.history, [folder], seconds=3600.0, clock=lambda: now, within=within)
    assert refresher.look() > 0
    more = np.array(statistics.values(ids[:5])["item_rate_buy_per_shown"]) - before
    # In all time: buys, and how often it was shown. In b, which has the buy too, the first place came before it.
    assert more[:, [1, 3]].tolist() == [[0, 2], [1, 1], [0, 1], [0, 1], [0, 1]]
    trained, _ = ingest(Store(f"sqlite:{tmp_path}/store.db", (folder,), until=now, within=within))
    parts = [pd.DataFrame({
        "user_id": trained.users["user_id"].take(of.user), "item_id": trained.items["item_id"].take(of.item),
        "timestamp": of.timestamp, "event": kind, "label": label,
    }) for of, label, kind in ((trained, 1, "buy"),
                               (trained.shown, 0, np.where(trained.shown.dropped, "drop", "shown")))]
    assert trained.shown.dropped.sum() == 1
    _assert_current(fresh, version, ids, pd.concat([frame[frame["timestamp"] < CUT * HOUR], *parts]), CUT + 3)
    refresher.close()
    stores.close()


def test_the_thread_goes_on_after_a_failure(fresh):
    done = threading.Event()

    class Store(_Store):
        def events(self, since, until):
            self.asked.append(since)
            if len(self.asked) == 1:
                raise StoreError("gone")
            done.set()
            return iter(())

    refresher = Refresher(fresh, Store([]), seconds=0.001, clock=lambda: (CUT + 9) * HOUR)
    assert done.wait(10)
    refresher.close()
    assert not refresher._thread.is_alive()
