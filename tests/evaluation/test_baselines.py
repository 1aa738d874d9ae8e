"""Popularity and item-kNN by hand."""

import numpy as np
import pytest

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.errors import EvaluationError
from tfrs_twotower.evaluation import ItemKNN, Popularity, item_counts, recent_counts

# Users 0, 1, 2 took items {0, 1}, {0, 1, 2}, {2}; user 1 took item 0 twice. Item 3 was never taken.
USERS = np.array([0, 0, 1, 1, 1, 1, 2])
ITEMS = np.array([0, 1, 0, 0, 1, 2, 2])
HALF = 1 / np.sqrt(2 * 2)  # items 0 and 2 share one user; each has two


def test_popularity_by_hand():
    scorer = Popularity(item_counts([0, 2, 2, -1], catalogue=4), size=3)
    assert np.asarray(scorer.scores(1, 3)).tolist() == [[1, 0, 2, 0]] * 2
    assert (scorer.size, scorer.catalogue) == (3, 4)


def test_recent_counts_by_hand():
    day = 24 * 3600
    counts = recent_counts([0, 1, 1, 2], np.array([0, 3, 4, 10]) * day, catalogue=3)
    assert counts.tolist() == [0, 1, 1]  # (3, 10] days: the event at day 3 is just out


def test_item_knn_by_hand():
    scorer = ItemKNN(USERS, ITEMS, Ragged.from_lists([[0], [0, 2], [], [3, -1]]), catalogue=4)
    no_link = [-1 / 3, -1 / 3, -1 / 3, -1.0]  # −1 / (1 + users)
    expected = [
        [no_link[0], 1.0, HALF, no_link[3]],
        [HALF, 1.0 + HALF, HALF, no_link[3]],
        no_link,
        no_link,
    ]
    np.testing.assert_allclose(scorer.scores(0, 4), expected, rtol=1e-6)
    np.testing.assert_allclose(scorer.scores(1, 3), expected[1:3], rtol=1e-6)


def test_item_knn_counts_the_last_items_as_often_as_they_stand():
    histories = Ragged.from_lists([[0, 2, 2], [1, 0]])
    scorer = ItemKNN(USERS, ITEMS, histories, catalogue=4, last=2)
    np.testing.assert_allclose(scorer.scores(0, 1)[0, :2], [2 * HALF, 2 * HALF], rtol=1e-6)
    np.testing.assert_allclose(scorer.scores(1, 2)[0, :3], [1.0, 1.0, 2 * HALF], rtol=1e-6)


def test_item_knn_keeps_the_nearest_neighbours():
    scorer = ItemKNN(USERS, ITEMS, Ragged.from_lists([[0], [2]]), catalogue=4, neighbours=1)
    scores = scorer.scores(0, 2)
    assert scores[0, 1] == pytest.approx(1.0) and scores[0, 2] < 0
    assert sorted(scores[1, :2] > 0) == [False, True]  # 0 and 1 tie: one of them is kept
    assert scores[1, :2].max() == pytest.approx(HALF)


def test_item_knn_equals_the_dense_formula(monkeypatch):
    monkeypatch.setattr("tfrs_twotower.evaluation.baselines._SIMILARITIES_AT_ONCE", 7 * 30)
    generator = np.random.default_rng(0)
    users, items = generator.integers(0, 40, 300), generator.integers(0, 30, 300)
    histories = [generator.integers(0, 30, generator.integers(0, 9)) for _ in range(12)]
    visits = np.zeros((40, 30))
    visits[users, items] = 1
    norms = np.sqrt(visits.sum(axis=0))
    similar = visits.T @ visits / np.outer(norms, norms)
    np.fill_diagonal(similar, 0)
    expected = np.stack([similar[h].sum(axis=0) for h in histories])
    scores = ItemKNN(users, items, Ragged.from_lists(histories), catalogue=30).scores(0, 12)
    np.testing.assert_allclose(np.maximum(scores, 0), expected, rtol=1e-5, atol=1e-6)


def test_item_knn_checks_its_settings():
    with pytest.raises(EvaluationError, match="`last` must be at least 1"):
        ItemKNN(USERS, ITEMS, Ragged.from_lists([[0]]), 4, last=0)
    with pytest.raises(EvaluationError, match="`neighbours` must be at least 1"):
        ItemKNN(USERS, ITEMS, Ragged.from_lists([[0]]), 4, neighbours=0)
