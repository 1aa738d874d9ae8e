"""Rows are collected once, through repetitions and kills; train and update read them as a log."""

import random
import time
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from forked import Forked

from tests.online.test_feedback import NOON, write_all
from tfrs_twotower.data import Files, ingest, joined
from tfrs_twotower.errors import ConfigError, DataError
from tfrs_twotower.features import History, Id, ItemStatistic, Schema, Searches, build_fields, infer_schema
from tfrs_twotower.online import (
    AnswerLog,
    Event,
    Impression,
    Store,
    collect,
    collected_columns,
    open_stores,
)
from tfrs_twotower.online.claims import FOREIGN, LATE, OUTSIDE, UNKNOWN
from tfrs_twotower.training import Examples, adapt
from tfrs_twotower.training.item_statistics import ItemStatistics

WHOLE = {"1", "2", "3", "4", "5", "6", "7", "8", "shown:clicked:1", "shown:seen:0", "shown:seen:2", "drop:seen:1",
         "shown:again:0", "shown:young:0", "shown:young:1"}


@pytest.fixture
def written(tmp_path):
    """(the store's address, the log's folder) of `test_feedback`."""
    write_all(tmp_path)
    return f"sqlite:{tmp_path}/store.db", str(tmp_path / "log")


@pytest.fixture
def history(written):
    stores = open_stores(written[0])
    yield stores.history
    stores.close()


def ids(folder):
    return sorted(pq.read_table(folder, columns=["event_id"])["event_id"].to_pylist()) if any(
        folder.glob("*.parquet")) else []


def test_times_that_overlap_give_each_row_once(written, history, tmp_path):
    out = tmp_path / "out"
    first = collect(history, [written[1]], str(out), NOON, NOON + 3000)
    assert (first.chosen, first.others) == (2, 0) and ids(out) == ["1", "3"]
    second = collect(history, [written[1]], str(out), None, NOON + 20_000)  # a day before the end of the first
    assert (second.chosen, second.others) == (5, 8) and set(ids(out)) == WHOLE and len(ids(out)) == len(WHOLE)
    again = collect(history, [written[1]], str(out), 0, NOON + 30_000)
    assert (again.chosen, again.others, again.file) == (0, 0, None)
    history.append([Event("late", "u", "c", NOON + 100)])
    assert collect(history, [written[1]], str(out), None, NOON + 30_001).chosen == 1


def test_what_clients_say_and_cannot_be_true_is_put_aside_once_and_changes_nothing(written, history, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    history.append([Event("thief", "w", "d", NOON + 90, "click", "clicked"),  # u's answer: d stays unseen
                    Event("dreamer", "w", "d", NOON + 90, "click", "never")])
    log = AnswerLog(other, clock=lambda: NOON + 20_000)  # another server's: clients may tell any of them
    log.saw([Impression("6", "again", NOON + 4010, [1], []), Impression("7", "clicked", NOON + 3600, [4], [])])
    log.rotate()
    log.close()
    found = collect(history, [written[1], str(other)], str(out), 0, NOON + 30_000)
    assert ids(out) == sorted([*WHOLE - {"shown:again:0"}, "thief", "dreamer"])  # `again`: only the chosen q was seen
    assert found.aside == {UNKNOWN: 2, FOREIGN: 1, OUTSIDE: 1, LATE: 1}
    aside = {row["id"]: row for row in pq.read_table(out / "_aside").to_pylist()}
    assert {name: row["reason"] for name, row in aside.items()} == {
        "3": UNKNOWN, "dreamer": UNKNOWN, "thief": FOREIGN, "4": OUTSIDE, "7": LATE}
    assert (aside["4"]["what"], aside["4"]["answer_id"], aside["4"]["place"]) == ("impression", "stranger", [0, 1, 99])
    assert (aside["thief"]["what"], aside["thief"]["user_id"], aside["thief"]["answer_id"]) == ("event", "w", "clicked")
    stolen, = pq.read_table(out, filters=[("event_id", "==", "thief")]).to_pylist()
    assert stolen["label"] == 1 and stolen["features"] is None and stolen["place"] is None
    assert collect(history, [written[1], str(other)], str(out), 0, NOON + 30_000).aside == {}
    parts = [collect(history, [written[1], str(other)], str(tmp_path / "parts"), since, since + 500).aside
             for since in range(NOON - 200, NOON + 30_000, 500)]
    assert sum(map(Counter, parts), Counter()) == found.aside
    report = ingest(Store(written[0], (written[1], str(other)), until=NOON + 30_000))[1]
    assert [note for note in report.notes if f"{UNKNOWN} (2)" in note and f"{LATE} (1)" in note]


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_process_leaves_whole_files_and_the_next_one_adds_the_rest_once(written, tmp_path, seed):
    out, luck = tmp_path / "out", random.Random(seed)
    with Forked("tests.online.victims:collect_again_and_again", *written, str(out)) as process:
        assert process.stdout.readline() == "began\n"
        time.sleep(luck.random() / 4)  # at any moment
        process.kill()
    stores = open_stores(written[0])
    collect(stores.history, [written[1]], str(out), 0, NOON + 30_000)
    stores.close()
    assert ids(out) == sorted(WHOLE) and not list(out.glob("*.writing"))


def test_a_log_has_what_was_shown_apart_and_features_as_served(written, history, tmp_path):
    out = str(tmp_path / "out")
    collect(history, [written[1]], out, 0, NOON + 30_000, context=["age"])
    for source in (Files(out, columns=collected_columns(out)),
                   Store(written[0], (written[1],), until=NOON + 30_000, context=("age",))):
        log, report = ingest(source)
        assert len(log) == 6 and len(log.shown) == 8 and not report.rejected
        ages = dict(zip(log.items["item_id"].take(log.item).to_pylist(), log.context["age"].to_pylist()))
        assert ages["c"] == len("clicked") and ages["f"] is None
        assert log.context["event"].to_pylist().count("click") == 2


def test_histories_read_kinds_dwell_times_and_search_words(written, history, tmp_path):
    history.append([Event("9", "u", "b", NOON + 80, "click", value=3.5, query="blue boots"),
                    Event("10", "v", "p", NOON + 6000, "click")])
    collect(history, [written[1]], str(tmp_path / "out"), 0, NOON + 30_000)
    schema = Schema((History(reads=("event", "dwell")), Searches()), (Id("item_id"), ItemStatistic("count", "click")))
    for source in (Files(str(tmp_path / "out"), columns=collected_columns(str(tmp_path / "out"))),
                   Store(written[0], (written[1],), until=NOON + 30_000)):
        log, report = ingest(source)
        assert not report.rejected and log.searched.query.to_pylist() == ["red shoes"]
        query, candidate = build_fields(schema, seed=1)
        statistics = ItemStatistics(candidate, log, np.arange(len(log)))
        adapt(log, np.arange(len(log)), query, candidate, statistics=statistics)
        last = np.flatnonzero(log.timestamp == NOON + 5000)  # u chose c, z, b and a before
        made = Examples(log, query, candidate, statistics=statistics)
        raw = made.raw_queries(last)
        assert raw["history_event"].numpy()[0, :4].tolist() == [b"click", b"view", b"click", b"buy"]
        assert raw["history_dwell"].numpy()[0, :4] == pytest.approx([2.5, np.nan, np.nan, np.nan], nan_ok=True)
        assert raw["searches"].numpy()[0, 0] == b"blue boots"
        after = made.raw_queries(np.flatnonzero(log.timestamp == NOON + 6000))  # v searched, and chose no item
        assert after["searches"].numpy()[0, 0] == b"red shoes"
        assert {"blue", "boots", "red", "shoes"} < set(query[1].vocabulary.get_vocabulary())
        assert log.context["value"].drop_null().to_pylist() == [3.5, 9.0]
        clicked = statistics.values(np.array([log.items["item_id"].to_pylist().index("b")]), NOON // 3600 + 1)
        assert clicked["item_count_click"][0].tolist() == [1, 1, 1, 1]
        derived = infer_schema(log)
        assert not {"dwell", "value", "query"} & {name for f in derived.query for name in f.columns}


def test_ids_that_are_numbers_stay_numbers(tmp_path):
    stores = open_stores(f"sqlite:{tmp_path}/numbers.db")
    assert collect(stores.history, [], str(tmp_path / "out"), 0, NOON).file is None  # nothing is known of ids yet
    stores.history.append([Event("1", "7", "3", NOON), Event("2", "8", "003", NOON)])
    only = Store(f"sqlite:{tmp_path}/only.db", until=NOON + 1)
    others = open_stores(only.address)
    others.history.append([Event("1", "7", "3", NOON), Event("2", "7", "", NOON, "search", query="red")])
    others.close()
    log, _ = ingest(only)
    assert log.items["item_id"].to_pylist() == [3] and log.searched.query.to_pylist() == ["red"]
    collect(stores.history, [], str(tmp_path / "out"), 0, NOON + 1)
    table = pq.read_table(tmp_path / "out")
    assert table["user_id"].to_pylist() == [7, 8] and table["item_id"].to_pylist() == ["3", "003"]
    stores.history.append([Event("3", "x", "3", NOON)])
    with pytest.raises(DataError, match="--text-ids"):
        collect(stores.history, [], str(tmp_path / "out"), 0, NOON + 1)
    stores.close()


def test_other_settings_need_another_folder(written, history, tmp_path):
    collect(history, [written[1]], str(tmp_path / "out"), 0, NOON)
    with pytest.raises(ConfigError, match="`within` must be 3600"):
        collect(history, [written[1]], str(tmp_path / "out"), 0, NOON, within=60)
    with pytest.raises(DataError, match="not columns that each row has"):
        collect(history, [written[1]], str(tmp_path / "other"), 0, NOON, context=["user_id"])


def test_an_update_reads_what_came_since_and_the_day_before(written):
    first = Store(written[0], (written[1],), until=NOON + 4000)
    second = first.after(NOON + 30_000)
    assert len(ingest(first)[0]) == 4
    log, _ = ingest(joined(first, second))
    assert log.new_in(1).sum() == 2 and len(log.shown) == 8  # events 4 and 8; no row of label 0 twice
    assert len(ingest(joined(joined(first, second), second.after(NOON + 60_000)))[0].shown) == 8
    with pytest.raises(ConfigError, match="`Store.until` must be known"):  # all of label 0 would be there twice
        Store(written[0], (written[1],)).after(NOON + 60_000)


def test_a_dislike_is_no_like_without_a_log_too(written):
    log, _ = ingest(Store(written[0], until=NOON + 30_000))
    assert len(log) == 6 and log.items["item_id"].take(log.shown.item).to_pylist() == ["q"]


def test_profiles_are_the_users_of_a_store(tmp_path):
    stores = open_stores(f"sqlite:{tmp_path}/users.db")
    stores.history.append([Event("1", "7", "a", NOON), Event("2", "8", "b", NOON)])
    stores.profiles.put({"7": {"age": 30, "tags": ["x"], "mixed": 1}, "8": {"age": 40.5, "mixed": "y"}})
    source = Store(f"sqlite:{tmp_path}/users.db", until=NOON + 1, profiles=True)
    stores.close()
    assert source.users().to_pylist() == [
        {"user_id": 7, "age": 30.0, "mixed": "1", "tags": ["x"]},
        {"user_id": 8, "age": 40.5, "mixed": "y", "tags": None},
    ]
    assert ingest(source)[0].users.to_pylist() == source.users().to_pylist()


def test_a_password_is_not_kept():
    with pytest.raises(ConfigError, match="TWOTOWER_REDIS_PASSWORD"):
        Store("redis://:secret@host:1/0")
