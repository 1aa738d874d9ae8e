"""The figures of a watch on samples that are known by hand, and the verb on a small export."""

import json
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.serving import history_export, shop_export
from tfrs_twotower.cli.main import main
from tfrs_twotower.data import Columns, Frames, Joined, ingest
from tfrs_twotower.features import Window
from tfrs_twotower.online import Answer, AnswerLog, read_answers
from tfrs_twotower.serving import load_export
from tfrs_twotower.watching import (
    GAUGES,
    WatchLimits,
    WatchReport,
    of_queries,
    watch_features,
    watch_index,
    watch_items,
    watch_versions,
)
from tfrs_twotower.watching.distributions import compare


def test_distances_of_categories_by_hand():
    found = compare(["a"] * 30 + ["b"] * 10 + [None] * 10, ["a"] * 10 + ["b"] * 30)
    p, q = np.array([30.5, 10.5, 0.5]) / 41.5, np.array([10.5, 30.5, 0.5]) / 41.5
    assert found["psi"] == pytest.approx(((p - q) * np.log(p / q)).sum())
    # JS² = 1 - H(¼) in bits, where the mixture is even: H(½) - H(¼)
    assert found["js"] ** 2 == pytest.approx(1 + 0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    assert found["missing"] == pytest.approx(-0.2) and "ks" not in found


def test_distances_of_numbers_by_hand():
    same = compare(list(range(1000)), list(range(1000)))
    noise = same.pop("noise")
    assert same == {"missing": 0.0, "ks": 0.0, "psi": 0.0, "js": 0.0}
    assert noise == pytest.approx(16.919 * 2 / 1000, rel=1e-3)  # the 95% quantile of χ² with 9 degrees of freedom
    assert compare([1.0, 2.0] * 500, [1.0] * 1000, (1000, 10))["noise"] == pytest.approx(3.841 * 0.101, rel=1e-3)
    moved = compare(list(range(1000)), list(range(500, 1500)))
    assert moved["ks"] == pytest.approx(0.5, abs=0.01) and moved["psi"] > 1
    drawn = np.random.default_rng(0).normal(size=(2, 5000))
    assert compare(*drawn.tolist())["psi"] < 0.02
    assert compare([1.0], [None]) == {"missing": 1.0}


@pytest.fixture
def log():
    """Four events of two users of 20 and 60 years."""
    events = {"user_id": ["7", "7", "7", "8"], "item_id": ["a", "b", "a", "c"], "timestamp": [1, 2, 3, 4]}
    users = {"user_id": ["7", "8"], "age": [20.0, 60.0]}
    return ingest(Frames(pd.DataFrame(events), pd.DataFrame(users)))[0]


def answers(*rows):
    """(user, features, items) as a table of answers."""
    return pa.table({
        "user_id": [user for user, _, _ in rows], "features": [json.dumps(features) for _, features, _ in rows],
        "item_id": pa.array([list(items) for _, _, items in rows], pa.list_(pa.string())),
    })


def test_served_features_lie_beside_those_of_the_training_events(log):
    table = answers(("7", {"age": 20.0, "history_item_id": ["a", "b", "a"], "mood": "x"}, "ab"),
                    ("9", {"age": None, "history_item_id": ["q"]}, "a"))
    features, shares = watch_features(log, table, Window((), 2))
    assert set(features) == {"age", "history_length"}  # the log has no `mood`
    assert features["age"]["missing"] == 0.5
    assert shares == {"unknown_users": 0.5, "unknown_history_items": 0.25}
    # Pasts of the events: 0, 1, 2 and 0 events; served: 3 and 1
    assert features["history_length"] == compare([0, 1, 2, 0], [3, 1], (2, 2))


def test_a_past_of_some_kinds_is_compared_with_events_of_these():
    events = pd.DataFrame({"user_id": ["7"] * 4, "item_id": [*"abab"], "timestamp": [1, 2, 3, 4],
                           "event": ["buy", "view", "view", "buy"]})
    log, _ = ingest(Frames(events, columns=Columns(event="event")))
    table = answers(("7", {"history_item_id": ["a"]}, "a"))
    found = watch_features(log, table, Window(("buy",), 9))[0]["history_length"]
    assert found == compare([0, 1, 1, 1], [1], (1, 1))  # buys before each event


def test_only_queries_are_asked_again():
    table = answers(("7", {"age": 1}, "a"), ("", {"item_id": "a"}, "b"), ("", {}, "c"))
    assert of_queries(table, ("user_id", "age"))["user_id"].to_pylist() == ["7"]


def test_coverage_and_the_share_of_popular_items(log):
    found = watch_items(log, answers(("7", {}, "ab"), ("8", {}, "aa")))
    assert found == {"coverage": pytest.approx(2 / 3), "popular_answered": 0.75, "popular_trained": 0.5}


def test_an_event_that_two_files_have_counts_once():
    event = pd.DataFrame({"user_id": ["7"], "item_id": ["a"], "timestamp": [1]})
    other = pd.DataFrame({"user_id": ["7"], "item_id": ["b"], "timestamp": [2]})
    twice, _ = ingest(Joined((Frames(event), Frames(pd.concat([event, other])))))
    assert watch_items(twice, answers(("7", {}, "ab")))["popular_trained"] == 0.5
    table = answers(("7", {"history_item_id": ["a"]}, "a"))
    assert watch_features(twice, table, Window((), 9))[0]["history_length"] == compare([0, 1], [1], (1, 1))


def test_versions_and_index_are_asked_what_was_asked(tmp_path):
    asked = answers(("u1", {"user_id": "u1", "history_item_id": [], "mood": [0, 0]}, "c"))
    old = load_export(shop_export.write(tmp_path, 1))
    assert watch_index(old, asked) == {"recall": 1.0}
    new = load_export(shop_export.write(tmp_path, 2))
    assert watch_versions(old, new, asked) == {"overlap": 1.0, "new_items": 0.0, "item_cosine": pytest.approx(1.0)}


def test_a_rotation_of_the_vectors_is_no_drift_and_other_vectors_are():
    class Catalogue:
        def __init__(self, vectors):
            self.ids, self.tower_vectors = np.arange(len(vectors)), vectors

        def rows(self, ids):
            return np.arange(len(ids))

    class Version:
        def __init__(self, vectors):
            self.catalogue = Catalogue(vectors)

    rng = np.random.default_rng(0)
    vectors, rotation = rng.normal(size=(200, 8)), np.linalg.qr(rng.normal(size=(8, 8)))[0]
    empty = answers()
    assert watch_versions(Version(vectors), Version(vectors @ rotation), empty)["item_cosine"] == pytest.approx(1)
    other = rng.normal(size=(200, 8))
    assert watch_versions(Version(vectors), Version(other), empty)["item_cosine"] < 0.5


def test_limits_and_the_text_for_prometheus():
    report = WatchReport({"age": {"psi": 0.3}, "city": {"psi": 0.1}, "gone": {"missing": 1.0}},
                         {"recall": 0.9, "unknown_users": 0.2, "coverage": 0.5})
    limits = WatchLimits(min_recall=0.95, max_unknown_users=0.1, min_coverage=0.5)
    assert report.exceeded(limits) == {
        "drift age": "0.300 > 0.25 + 0.000 of noise", "recall": "0.900 < 0.95", "unknown_users": "0.200 > 0.1"}
    assert report.exceeded(WatchLimits(max_drift=None)) == {}
    text = report.prometheus(limits).decode()
    assert 'twotower_watch_drift{feature="age"} 0.3' in text and 'twotower_watch_share{share="recall"} 0.9' in text
    assert 'twotower_watch_exceeded{check="drift age"} 1.0' in text
    assert all(f"# HELP {name} " in text for name in GAUGES)


def test_few_users_raise_no_alarm():
    """Twenty users of the same kinds as those of training: by the index alone, each third day raises an alarm."""
    random, alarms, by_index = np.random.default_rng(0), 0, 0
    for _ in range(100):
        trained, served = random.choice(list("abcdef"), 2000), np.repeat(random.choice(list("abcdef"), 20), 20)
        found = compare(trained.tolist(), served.tolist(), (2000, 20))
        report = WatchReport({"kind": found}, {"unknown_users": 0.5, "item_cosine": 0.1}, users=20)
        alarms += "drift kind" in report.exceeded(WatchLimits(min_users=0))
        by_index += found["psi"] > 0.25
    assert by_index > 25 and alarms <= 1
    limits = WatchLimits(max_unknown_users=0.1, min_item_cosine=0.5)
    assert report.exceeded(limits) == {"item_cosine": "0.100 < 0.5"}  # vectors are compared without answers
    assert "unknown_users" in WatchReport({}, report.shares, users=100).exceeded(limits)


def test_the_verb_watches_an_export_and_ends_by_its_limits(tmp_path, capsys):
    (tmp_path / "export").mkdir()
    for version in (1, 2):
        history_export.write(tmp_path / "export", version)
    log = AnswerLog(tmp_path / "log")
    features = {"user_id": 7, "history_item_id": [2, 3], "history_timestamp": [1, 2], "timestamp": 3, "age": 1.0,
                "city": "", "tags": [], "vector": [0.0, 0.0]}
    log.record([Answer("a1", "7", int(time.time()), 2, "", {}, features, [("2", "", 1.0)])])
    log.close()
    assert len(read_answers(tmp_path / "log")) == 1
    command = ["watch", str(tmp_path / "export"), "--log", str(tmp_path / "log")]
    assert main([*command, "--prometheus", str(tmp_path / "watch.prom")]) == 0
    assert main([*command, "--prometheus", str(tmp_path)]) == 1  # a folder
    said = capsys.readouterr().out
    assert "overlap                1.000" in said and "1 answers to 1 users" in said and "need 100 users" in said
    assert 'share="overlap"} 1.0' in (tmp_path / "watch.prom").read_text()
    assert main([*command, "--json", "--min-overlap", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["shares"] == {"overlap": 1.0}
    assert main(["watch", str(tmp_path), "--log", str(tmp_path / "log")]) == 1
    assert "must be a run" in capsys.readouterr().err
