"""The whole call, on planted data, and what is made of it."""

import json

import numpy as np
import pytest

from tfrs_twotower.configuration import from_dict, to_dict
from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.errors import ConfigError, EvaluationError
from tfrs_twotower.evaluation import (
    DotScorer,
    EvaluationConfig,
    Popularity,
    compare,
    evaluate,
    metric_table,
    slice_table,
)

CATALOGUE = 40
COUNTS = np.arange(CATALOGUE)  # item i has i training events; item 0 is cold
TARGETS = Ragged.from_lists([[i] for i in range(CATALOGUE)] + [[0, 39]])
ONE_HOT = np.eye(CATALOGUE)
PERFECT = DotScorer(np.vstack([ONE_HOT, ONE_HOT[0] + ONE_HOT[39]]), ONE_HOT)
POPULAR = Popularity(COUNTS, size=len(TARGETS))


def test_a_perfect_model():
    outcome = evaluate(PERFECT, TARGETS, None, COUNTS, ks=(2, 10))
    for name in ("recall@2", "hit_rate@2", "ndcg@2", "recall@10", "mrr"):
        assert outcome.metrics[name] == pytest.approx(1.0)
        assert outcome.intervals[name] == pytest.approx([1.0, 1.0])
    assert outcome.metrics["coverage@2"] == 1.0 and "coverage@2" not in outcome.intervals
    assert (outcome.queries, outcome.targets, outcome.candidates) == (41, 42, 40)
    assert outcome.top.shape == (41, 10)


def test_popularity_by_hand():
    cold_users = np.arange(41) < 4
    outcome = evaluate(POPULAR, TARGETS, None, COUNTS, ks=(4,), cold_users=cold_users)
    # Items 36 to 39 are recommended to all. Query 40 finds one of two.
    assert outcome.metrics["recall@4"] == pytest.approx(4.5 / 41)
    assert outcome.metrics["hit_rate@4"] == pytest.approx(5 / 41)
    assert outcome.metrics["mrr"] == pytest.approx((sum(1 / r for r in range(1, 41)) + 1) / 41)
    assert outcome.metrics["coverage@4"] == 4 / 40
    smoothed = (np.arange(36, 40) + 1) / (COUNTS.sum() + 40)
    assert outcome.metrics["novelty@4"] == pytest.approx(-np.log2(smoothed).mean())
    assert outcome.top.tolist() == [[39, 38, 37, 36]] * 41
    # Decile 10 holds items 36 to 39: all found. Query 40 counts there with its target 39 alone.
    top_decile = outcome.slices["item_decile_10"]
    assert (top_decile["targets"], top_decile["queries"], top_decile["recall@4"]) == (5, 5, 1.0)
    assert outcome.slices["item_decile_9"]["recall@4"] == 0
    assert (outcome.slices["cold_items"]["targets"], outcome.slices["cold_items"]["recall@4"]) == (2, 0)
    assert outcome.slices["warm_items"]["recall@4"] == pytest.approx(5 / 40)
    assert (outcome.slices["cold_users"]["queries"], outcome.slices["cold_users"]["recall@4"]) == (4, 0)
    assert outcome.slices["warm_users"]["recall@4"] == pytest.approx(4.5 / 37)
    low, high = outcome.slices["warm_users"]["intervals"]["recall@4"]
    assert 0 < low < 4.5 / 37 < high < 0.3


def test_seen_items_make_room():
    seen = Ragged.from_lists([[38, 39]] * 41)
    outcome = evaluate(POPULAR, TARGETS, seen, COUNTS, ks=(2,), bootstrap=0)
    # Now 36 and 37 are recommended. Queries 38 and 39 have nothing left to find, query 40 one target.
    assert (outcome.queries, outcome.dropped, outcome.targets) == (39, 2, 39)
    assert outcome.metrics["recall@2"] == pytest.approx(2 / 39)
    assert outcome.top[0].tolist() == [37, 36] and outcome.top[39].tolist() == [-1, -1]  # not ranked without a target
    assert outcome.intervals == {} and outcome.slices["warm_items"]["intervals"] == {}


def test_to_dict_is_json_and_seeded():
    first, second = (evaluate(POPULAR, TARGETS, None, COUNTS, ks=(4,), seed=7).to_dict() for _ in range(2))
    assert json.loads(json.dumps(first, allow_nan=False)) == second
    assert "top" not in first and "per_query" not in first
    assert first["intervals"] != evaluate(POPULAR, TARGETS, None, COUNTS, ks=(4,), seed=8).intervals


def test_compare_is_paired():
    perfect, popular = (evaluate(s, TARGETS, None, COUNTS, ks=(4,), bootstrap=0) for s in (PERFECT, POPULAR))
    difference = compare(perfect, popular)["recall@4"]
    assert difference["difference"] == pytest.approx(36.5 / 41)
    assert 0.75 < difference["interval"][0] < 36.5 / 41 < difference["interval"][1] < 1
    assert compare(popular, popular)["mrr"] == {"difference": 0.0, "interval": [0.0, 0.0]}


def test_compare_refuses_other_targets():
    other = Ragged.from_lists([[1]] * 41)
    a, b = (evaluate(POPULAR, targets, None, COUNTS, ks=(4,), bootstrap=0) for targets in (TARGETS, other))
    with pytest.raises(EvaluationError, match="same queries and targets"):
        compare(a, b)


def test_wrong_arguments():
    with pytest.raises(EvaluationError, match="`ks` must be one or more"):
        evaluate(POPULAR, TARGETS, None, COUNTS, ks=())
    with pytest.raises(EvaluationError, match="`ks` must be one or more"):
        evaluate(POPULAR, TARGETS, None, COUNTS, ks=(0, 10))
    with pytest.raises(EvaluationError, match="`train_counts` must have one count for each of the 40"):
        evaluate(POPULAR, TARGETS, None, COUNTS[1:])


def test_tables_show_the_model_beside_its_baselines():
    evaluations = {
        "model": evaluate(PERFECT, TARGETS, None, COUNTS, ks=(4,)),
        "popularity": evaluate(POPULAR, TARGETS, None, COUNTS, ks=(4,), bootstrap=0),
    }
    lines = metric_table(evaluations).splitlines()
    assert lines[0].split() == ["metric", "model", "popularity"]
    assert lines[2].split() == ["recall@4", "1.000", "[1.000,", "1.000]", "0.1098"]
    assert len({line.index("0.1") for line in lines if line.startswith(("recall@4", "coverage@4"))}) == 1
    lines = slice_table(evaluations, "recall@4").splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["cold_items", "warm_items"]
    assert lines[-2].split()[1] == "2" and lines[-2].split()[-1] == "0.0000"


def test_config_round_trip():
    settings = EvaluationConfig(ks=(5,), exclude_seen=False, bootstrap=0)
    assert from_dict(to_dict(settings)) == settings
    assert EvaluationConfig().ks == (10, 50, 100) and EvaluationConfig().exclude_seen is None


@pytest.mark.parametrize(("field", "value"), [
    ("ks", ()), ("ks", (10, 0)), ("bootstrap", -1), ("bootstrap", 1), ("bootstrap", 19),
])
def test_wrong_settings_are_refused(field, value):
    with pytest.raises(ConfigError, match=f"`EvaluationConfig.{field}` must be"):
        EvaluationConfig(**{field: value})


def test_the_settings_know_the_names_of_the_metrics():
    outcome = evaluate(PERFECT, TARGETS, None, COUNTS, ks=(2, 10), bootstrap=0)
    assert set(EvaluationConfig(ks=(2, 10)).metrics()) == set(outcome.metrics)


def test_it_prints_as_a_table():
    found = evaluate(np.array([[3.0, 2.0, 1.0]]), [[0]], ks=(1,), bootstrap=0)
    lines = repr(found).splitlines()
    assert lines[0].split() == ["metric", "value"] and ["recall@1", "1.000"] in [line.split() for line in lines]
    assert lines[-1] == "1 queries, 1 targets, 3 candidates"
    assert "<td>recall@1</td><td>1.000</td>" in found._repr_html_()
