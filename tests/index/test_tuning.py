"""Tuning reaches its target on queries that it did not see, and says so truthfully."""

import json

import numpy as np
import pytest

from tfrs_twotower import configuration, extras
from tfrs_twotower.errors import ConfigError, IndexingError
from tfrs_twotower.index import IVF, Exact, IndexConfig, TopK, build, recall, tuning


@pytest.fixture(scope="module")
def points():
    """6,000 candidates and 400 queries in all directions: no clusters, so leaves cut through neighbours."""
    points = np.random.default_rng(0).normal(size=(6400, 8))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    return points[:6000], points[6000:]


@pytest.fixture(params=["ivf", "scann"])
def kind(request):
    if request.param == "scann" and not extras.available("scann"):
        pytest.skip("scann has no wheel for this system")
    return request.param


def measured(index, vectors, queries, k):
    """Recall by sets of rows, written apart from the code under test."""
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :k]
    found = index.search(queries, k).rows.numpy()
    return np.mean([len(set(a) & set(b)) / k for a, b in zip(truth, found)])


def test_target_is_reached_without_searching_everything(kind, points):
    vectors, queries = points
    index, report = build(IndexConfig(kind=kind, k=20), vectors, queries)
    assert report.meets_target and report.recall_at_k >= 0.95 and report.kind == kind
    assert measured(index, vectors, queries, 20) == pytest.approx(report.recall_at_k, abs=0.03)
    visited = report.settings["probes" if kind == "ivf" else "leaves_to_search"]
    assert 1 < visited < report.settings["leaves"] / 2
    efforts, found, _, chosen = zip(*report.curve)
    assert list(efforts) == sorted(efforts) and len(efforts) > 2 and found[0] < found[-1]
    assert efforts[chosen.index(True)] == visited and chosen.count(True) == 1  # and the index is as it was chosen
    assert index.settings() == report.settings


def test_a_higher_target_costs_more(points):
    vectors, queries = points
    low, high = (
        build(IndexConfig(kind="ivf", k=20, target_recall=target), vectors, queries)[1]
        for target in (0.6, 0.99)
    )
    assert low.settings["probes"] < high.settings["probes"]
    assert 0.6 <= low.recall_at_k < high.recall_at_k


def test_settings_that_are_given_are_kept_and_a_missed_target_is_told(kind, points):
    vectors, queries = points
    given = IndexConfig(kind=kind, k=20, leaves=100, probes=1, reorder=200)
    _, report = build(given, vectors, queries)
    assert report.settings["leaves"] in range(90, 101)
    assert report.settings["probes" if kind == "ivf" else "leaves_to_search"] == 1
    assert report.settings.get("reorder", 200) == 200
    assert not report.meets_target and report.recall_at_k < 0.95


def test_same_seed_same_index(points):
    vectors, queries = points
    first, second = (build(IndexConfig(kind="ivf", k=10), vectors, queries, seed=5) for _ in range(2))
    assert first[1].settings == second[1].settings
    assert first[1].recall_at_k == second[1].recall_at_k
    np.testing.assert_array_equal(first[0].rows, second[0].rows)


@pytest.mark.parametrize("exact_below, kind", [(6001, "exact"), (6000, "approximate")])
def test_auto_is_exact_for_small_catalogues(points, exact_below, kind):
    vectors, queries = points
    index, report = build(IndexConfig(exact_below=exact_below, k=5, target_recall=0.5), vectors, queries)
    assert index.exact == (kind == "exact")
    assert report.kind == ("exact" if index.exact else "scann" if extras.available("scann") else "ivf")


def test_report_of_exact_search_and_its_json(points):
    index, report = build(IndexConfig(), *points)
    values = json.loads(json.dumps(report.to_dict()))
    assert values["recall@10"] == values["recall@100"] == 1 and values["meets_target"]
    assert 0 < values["latency_p50_ms"] <= values["latency_p99_ms"]
    assert values["memory_bytes"] == 6000 * 8 * 4 and values["settings"] == index.settings()
    assert values["queries"] == 200


def test_candidates_stand_in_for_queries(points):
    _, report = build(IndexConfig(kind="ivf", k=10), points[0])
    assert report.meets_target and report.queries == 500


def test_k_above_the_catalogue(kind):
    vectors = np.random.default_rng(1).normal(size=(30, 4))
    index, report = build(IndexConfig(kind=kind), vectors)
    assert report.recall_at_k == 1 and report.meets_target
    assert index.search(vectors[:1], 30).rows.numpy().min() == 0


def test_too_few_or_broken_queries_are_refused(points):
    vectors, queries = points
    with pytest.raises(IndexingError, match="`queries` must hold at least 20 finite vectors"):
        build(IndexConfig(kind="ivf"), vectors, queries[:19])
    with pytest.raises(IndexingError, match=r"`queries` must have shape \[batch, 8\]"):
        build(IndexConfig(kind="ivf"), vectors, queries[:, :3])


def test_recall_by_hand():
    """Candidates 3, 2, 2, 1: the best two are row 0 and either of rows 1 and 2."""
    vectors = np.array([[3], [2], [2], [1]], np.float32)
    queries = np.ones((1, 1), np.float32)
    truth = recall.true_scores(Exact(vectors), queries, 2)
    np.testing.assert_array_equal(truth, [[3, 2]])

    class Fixed:
        def __init__(self, *rows):
            self.rows = np.array([rows], np.int32)

        def search(self, queries, k):
            return TopK(None, self.rows)

    for rows, expected in (((0, 2), 1), ((0, 3), 0.5), ((-1, -1), 0), ((3, -1), 0)):
        assert recall.per_query(Fixed(*rows), truth, vectors, queries, 2) == [expected]


def test_config_round_trip():
    value = IndexConfig(kind="ivf", probes=7)
    assert configuration.from_dict(configuration.to_dict(value)) == value


@pytest.mark.parametrize(("field", "value"), [
    ("k", 0), ("target_recall", 0.0), ("target_recall", 2.0), ("target_recall", float("nan")), ("exact_below", -1),
    ("leaves", 0), ("probes", -1), ("reorder", 0), ("kind", "skann"),
])
def test_wrong_settings_are_refused_when_they_are_made(field, value):
    with pytest.raises(ConfigError, match=f"`IndexConfig.{field}` (must be|cannot be)"):
        IndexConfig(**{field: value})


def test_settings_at_their_bounds_are_allowed():
    IndexConfig(k=1, target_recall=1.0, exact_below=0, leaves=1, probes=1, reorder=1)


def test_ivf_recall_equals_the_share_of_the_truth_in_the_probed_leaves(points):
    vectors, queries = points
    index = IVF(vectors, leaves=50, probes=4)
    leaf_of_row = np.repeat(np.arange(index.leaves), (index.ends - index.starts).numpy())
    leaf_of_row = leaf_of_row[np.argsort(index.rows.numpy()[:-1])]
    probed = np.argsort(-(queries @ index.centroids.numpy().T), axis=1)[:, :4]
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :20]
    expected = np.mean([np.isin(leaf_of_row[truth[i]], probed[i]).mean() for i in range(len(queries))])
    assert 0.3 < expected < 1
    assert measured(index, vectors, queries, 20) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("least, most, needed, found", [
    (1, 100, 1, 1), (1, 100, 5, 5), (1, 100, 12, 12), (3, 100, 2, 3), (1, 100, 100, 100), (7, 7, 7, 7),
    (1, 100, 101, None), (7, 7, 8, None),
])
def test_fewest_probes_by_hand(least, most, needed, found):
    tried = []
    assert tuning._fewest(least, most, lambda probes: tried.append(probes) or probes >= needed) == found
    assert all(least <= probes <= most for probes in tried)


def test_fewest_probes_within_a_sixteenth():
    assert 600 <= tuning._fewest(1, 10_000, lambda probes: probes >= 600) <= 640
