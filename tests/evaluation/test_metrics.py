"""Metrics by hand and against ranx."""

import numpy as np
import pytest

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.evaluation import DotScorer, rank
from tfrs_twotower.evaluation.metrics import coverage, novelty, per_query, reciprocal_rank


def table(scores):
    """A scorer with just these scores: each query's vector is its row, each candidate's a unit vector."""
    return DotScorer(scores, np.eye(len(scores[0])))


def test_by_hand():
    # Query 0 finds its targets at ranks 1 and 3; of query 1's three targets one has rank 2, one is unknown.
    scores = [[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0]]
    ranking = rank(table(scores), Ragged.from_lists([[0, 2], [1, 3, -1]]), max_k=3)
    metrics = per_query(ranking, (1, 3))
    assert metrics["recall@1"].tolist() == [1 / 2, 0]
    assert metrics["recall@3"].tolist() == [1, 1 / 3]
    assert metrics["hit_rate@1"].tolist() == [1, 0]
    assert metrics["hit_rate@3"].tolist() == [1, 1]
    assert metrics["ndcg@1"].tolist() == [1, 0]
    ideal = 1 + 1 / np.log2(3)
    np.testing.assert_allclose(
        metrics["ndcg@3"], [(1 + 1 / 2) / ideal, (1 / np.log2(3)) / (ideal + 1 / 2)], rtol=1e-12
    )
    assert reciprocal_rank(ranking).tolist() == [1, 1 / 2]


def test_reciprocal_rank_beyond_k_and_without_a_known_target():
    ranking = rank(table([[4.0, 3.0, 2.0, 1.0]] * 2), Ragged.from_lists([[3], [-1]]), max_k=1)
    assert reciprocal_rank(ranking).tolist() == [1 / 4, 0]


def test_a_constant_model_has_the_recall_of_chance():
    targets = Ragged.from_lists([[row % 100] for row in range(3000)])
    found = per_query(rank(table(np.zeros((3000, 100))), targets, max_k=99), (10, 99))
    assert found["recall@10"].mean() == pytest.approx(0.1, abs=0.025)
    assert found["recall@99"].mean() == pytest.approx(0.99, abs=0.01)


def test_only_counted_targets_count():
    ranking = rank(table([[4.0, 3.0, 2.0, 1.0]] * 2), Ragged.from_lists([[0, 3], [0]]), max_k=2)
    metrics = per_query(ranking, (2,), counted=np.array([False, True, False]))
    np.testing.assert_array_equal(metrics["recall@2"], [0, np.nan])
    np.testing.assert_array_equal(metrics["hit_rate@2"], [0, np.nan])
    np.testing.assert_array_equal(metrics["ndcg@2"], [0, np.nan])


def test_coverage_and_novelty_by_hand():
    scores = [[4.0, 3.0, 2.0, 1.0], [4.0, 1.0, 3.0, 2.0]]
    ranking = rank(table(scores), Ragged.from_lists([[0], [0]]), max_k=2)
    assert coverage(ranking, 1) == 1 / 4
    assert coverage(ranking, 2) == 3 / 4
    # Smoothed counts 8, 4, 2, 2 of 16: −log2 p = 1, 2, 3, 3.
    assert novelty(ranking, 2, [7, 3, 1, 1]).tolist() == [1.5, 2.0]


def test_novelty_over_fewer_recommendations_than_k():
    ranking = rank(table([[4.0, 3.0]]), Ragged.from_lists([[0]]), Ragged.from_lists([[1]]), max_k=2)
    assert novelty(ranking, 2, [0, 2]).tolist() == [2.0]  # p = 1/4
    nothing = rank(table([[4.0, 3.0]]), Ragged.from_lists([[-1]]), Ragged.from_lists([[0, 1]]), max_k=2)
    assert np.isnan(novelty(nothing, 2, [0, 2])).all()


@pytest.mark.parametrize("seed", range(3))
def test_equals_ranx(seed, monkeypatch):
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)  # compiling ranx takes most of a minute
    ranx = pytest.importorskip("ranx")
    generator = np.random.default_rng(seed)
    queries, catalogue = 40, 120
    scores = generator.permuted(np.tile(np.arange(catalogue, dtype=np.float32), (queries, 1)), axis=1)
    targets = [generator.choice(catalogue, generator.integers(1, 15), replace=False) for _ in range(queries)]
    ranking = rank(table(scores), Ragged.from_lists(targets), max_k=catalogue)
    ours = {**per_query(ranking, (5, 20)), "mrr": reciprocal_rank(ranking)}
    qrels = ranx.Qrels({f"{q:03d}": {str(t): 1 for t in wanted} for q, wanted in enumerate(targets)})
    run = ranx.Run(
        {f"{q:03d}": {str(c): float(s) for c, s in enumerate(row)} for q, row in enumerate(scores)}
    )
    names = [*(f"{m}@{k}" for m in ("recall", "hit_rate", "ndcg") for k in (5, 20)), "mrr"]
    theirs = ranx.evaluate(qrels, run, names, return_mean=False)
    for name in names:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-9, err_msg=name)
