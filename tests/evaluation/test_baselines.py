"""Each baseline by hand, and how their settings are chosen."""

import time

import numpy as np
import pytest
import threadpoolctl
from scipy import sparse

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.errors import EvaluationError
from tfrs_twotower.evaluation import (
    EASE,
    IALS,
    Baselines,
    BoughtBefore,
    ItemKNN,
    Popularity,
    TrainingEvents,
    item_counts,
    recent_counts,
)
from tfrs_twotower.evaluation.baselines import ease, history_matrix, item_knn, tuning

# Users 0, 1, 2 took items {0, 1}, {0, 1, 2}, {2}; user 1 took item 0 twice. Item 3 was never taken.
USERS = np.array([0, 0, 1, 1, 1, 1, 2])
ITEMS = np.array([0, 1, 0, 0, 1, 2, 2])
HALF = 1 / np.sqrt(2 * 2)  # items 0 and 2 share one user; each has two
DAY = 24 * 3600


def events(users=USERS, items=ITEMS, catalogue=4, timestamps=None):
    times = np.zeros(len(users), np.int64) if timestamps is None else np.asarray(timestamps)
    return TrainingEvents(np.asarray(users), np.asarray(items), times, catalogue)


def history(lists, kind="all", catalogue=4):
    return history_matrix(Ragged.from_lists(lists), catalogue, kind)


def test_training_events_by_hand():
    made = events(items=[0, 1, 0, 0, -1, 2, 2])
    assert made.visits().toarray().tolist() == [[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 0]]
    assert made.counts().tolist() == [3, 1, 2, 0]


def test_popularity_by_hand():
    scorer = Popularity(item_counts([0, 2, 2, -1], catalogue=4), size=3)
    assert np.asarray(scorer.scores(1, 3)).tolist() == [[1, 0, 2, 0]] * 2
    assert (scorer.size, scorer.catalogue) == (3, 4)


def test_recent_counts_by_hand():
    counts = recent_counts([0, 1, 1, 2], np.array([0, 3, 4, 10]) * DAY, catalogue=3)
    assert counts.tolist() == [0, 1, 1]  # (3, 10] days: the event at day 3 is just out


@pytest.mark.parametrize(("kind", "expected"), [
    ("all", [1, 1, 1]),
    ("last_5", [3, 1, 1]),
    ("last_20", [5, 1, 1]),
    ("decayed", [1 + 2 ** -0.3 + 2 ** -0.4 + 2 ** -0.5 + 2 ** -0.6, 2 ** -0.2, 2 ** -0.1]),
])
def test_histories_by_hand(kind, expected):
    # Newest last: item 0 is 0, 3, 4, 5 and 6 events old, item 1 two, item 2 one. An unknown item is an event too.
    lists = [[0, 0, 0, 0, 1, 2, 0], [-1], []]
    found = history(lists, kind).toarray()
    np.testing.assert_allclose(found[0, :3], expected, rtol=1e-6)
    assert not found[1:].any()


def test_bought_before_by_count_then_by_recency_then_popularity():
    #            2 twice, 3 and 0 once (0 later); the rest by popularity: 5, then 1 and 4
    lists = [[2, 3, 2, 0, -1], [], [4]]
    scorer = BoughtBefore(Ragged.from_lists(lists), counts=[9, 2, 0, 1, 1, 8])
    scores = np.concatenate([scorer.scores(0, 1), scorer.scores(1, 3)])
    assert np.argsort(-scores[0], kind="stable").tolist() == [2, 0, 3, 5, 1, 4]
    assert np.argsort(-scores[1], kind="stable").tolist() == [0, 5, 1, 3, 4, 2]
    assert scores[2].argmax() == 4
    assert (scorer.size, scorer.catalogue) == (3, 6)


def test_item_knn_by_hand():
    scorer = ItemKNN(events().visits()).scorer(history([[0], [0, 2], [], [3, -1]]))
    no_link = [-1 / 3, -1 / 3, -1 / 3, -1.0]  # −1 / (1 + users)
    expected = [
        [no_link[0], 1.0, HALF, no_link[3]],
        [HALF, 1.0 + HALF, HALF, no_link[3]],
        no_link,
        no_link,
    ]
    np.testing.assert_allclose(scorer.scores(0, 4), expected, rtol=1e-6)
    np.testing.assert_allclose(scorer.scores(1, 3), expected[1:3], rtol=1e-6)


def test_item_knn_keeps_the_nearest_neighbours():
    scores = ItemKNN(events().visits(), neighbours=1).scorer(history([[0], [2]])).scores(0, 2)
    assert scores[0, 1] == pytest.approx(1.0) and scores[0, 2] < 0
    assert sorted(scores[1, :2] > 0) == [False, True]  # 0 and 1 tie: one of them is kept
    assert scores[1, :2].max() == pytest.approx(HALF)


def test_item_knn_equals_the_dense_formula(monkeypatch):
    monkeypatch.setattr(item_knn, "_SIMILARITIES_AT_ONCE", 7 * 30)
    generator = np.random.default_rng(0)
    users, items = generator.integers(0, 40, 300), generator.integers(0, 30, 300)
    histories = [generator.permutation(30)[: generator.integers(0, 9)] for _ in range(12)]
    visits = np.zeros((40, 30))
    visits[users, items] = 1
    norms = np.sqrt(visits.sum(axis=0))
    similar = visits.T @ visits / np.outer(norms, norms)
    np.fill_diagonal(similar, 0)
    expected = np.stack([similar[h].sum(axis=0) for h in histories])
    made = ItemKNN(events(users, items, 30).visits())
    scores = made.scorer(history(histories, catalogue=30)).scores(0, 12)
    np.testing.assert_allclose(np.maximum(scores, 0), expected, rtol=1e-5, atol=1e-6)


def test_item_knn_checks_its_settings():
    with pytest.raises(EvaluationError, match="`neighbours` must be at least 1"):
        ItemKNN(events().visits(), neighbours=0)


@pytest.mark.parametrize("precision_up_to", [4_000, 0])
def test_ease_by_hand(precision_up_to, monkeypatch):
    """Two users took both items, one the first alone: XᵀX = [[3, 2], [2, 2]].

    With λ = 1, (XᵀX + I)⁻¹ = [[3, −2], [−2, 4]] / 8, so B = [[0, 2/4], [2/3, 0]].
    """
    monkeypatch.setattr(ease, "_DOUBLE_UP_TO", precision_up_to)
    visits = sparse.csr_matrix(np.array([[1, 1], [1, 1], [1, 0]], np.float32))
    scorer = EASE(visits, penalty=1).scorer(history([[0], [1], [0, 1], []], catalogue=2))
    expected = [[0, 0.5], [2 / 3, 0], [2 / 3, 0.5], [3, 2]]  # without a history: popularity
    np.testing.assert_allclose(np.concatenate([scorer.scores(0, 1), scorer.scores(1, 4)]), expected, atol=1e-6)


def test_ease_solves_its_least_squares(monkeypatch):
    """Column j of B minimises ‖X_j − X b‖² + λ‖b‖² under b_j = 0: ridge regression on the other items."""
    monkeypatch.setattr(ease, "_BLOCK", 5)
    dense = (np.random.default_rng(0).random((60, 12)) < 0.3).astype(np.float32)
    weights = EASE(sparse.csr_matrix(dense), penalty=7.0).scorer(sparse.identity(12, format="csr")).scores(0, 12)
    for j in range(12):
        others = np.delete(np.arange(12), j)
        x = dense[:, others].astype(np.float64)
        expected = np.linalg.solve(x.T @ x + 7.0 * np.eye(11), x.T @ dense[:, j])
        np.testing.assert_allclose(weights[others, j], expected, atol=1e-5)
        assert weights[j, j] == 0


def test_ials_folds_a_user_in_by_the_formula_and_finds_the_planted_groups():
    """Two groups of users and items. Factors of a history solve (YᵀC Y + λI) x = YᵀC p."""
    generator = np.random.default_rng(0)
    users = np.repeat(np.arange(60), 6)
    items = generator.integers(0, 10, 360) + 10 * (users % 2)
    made = IALS(events(users, items, 20).visits(), alpha=4, regularization=1, iterations=8)
    scores = made.scorer(history([[1, 3], [12], []], catalogue=20)).scores(0, 3)
    own, other = np.split(np.stack([scores[0], np.roll(scores[1], 10)]), 2, axis=1)
    assert (own.mean(axis=1) > 0.05).all() and (np.abs(other).max(axis=1) < 0.01).all()
    np.testing.assert_allclose(scores[2], np.bincount(np.unique(users * 20 + items) % 20, minlength=20), rtol=1e-5)
    y = made._model.item_factors.astype(np.float64)
    liked = np.isin(np.arange(20), [1, 3])
    confidence = np.where(liked, 4.0, 1.0)
    factors = np.linalg.solve((y.T * confidence) @ y + np.eye(64), (y.T * confidence) @ liked)
    np.testing.assert_allclose(scores[0], y @ factors, atol=1e-3)


class Fit:
    """A fit whose worth on validation is planted."""

    def __init__(self, penalty):
        self.penalty = penalty


def test_tuning_climbs_to_the_best_settings_and_history():
    worth = {1: 0.1, 2: 0.2, 4: 0.5, 8: 0.3, 16: 0.9}
    fits = []

    def measure(fit, kind):
        fits.append(fit.penalty)
        return worth[fit.penalty] + (0.01 if kind == "decayed" else 0.0)

    grid = {"penalty": tuple(worth)}
    found = tuning.tune(Fit, grid, {"penalty": 2}, "last_10", measure, time.monotonic() + 60)
    assert found.settings == {"penalty": 4} and found.history == "decayed" and found.fits == 3
    assert found.validation == pytest.approx(0.51)
    assert 16 not in fits  # beyond the first that is no better nothing is tried
    late = tuning.tune(Fit, grid, {"penalty": 2}, "last_10", measure, time.monotonic() - 1)
    assert late.settings == {"penalty": 2} and late.history == "decayed" and late.fits == 1
    assert tuning.tune(Fit, grid, {"penalty": 8}, "all", None, 0.0).settings == {"penalty": 8}


def many(seed=0):
    """Events of 80 users in two groups over twelve days."""
    users = np.repeat(np.arange(80), 8)
    items = np.random.default_rng(seed).integers(0, 15, len(users)) + 15 * (users % 2)
    return events(users, items, 30, np.linspace(0, 12 * DAY, len(users)).astype(np.int64))


def test_all_baselines_stand_beside_each_other_with_their_settings():
    histories = Ragged.from_lists([[1, 2, 3], [16, 17], []])

    def measure(scorer):  # of how many histories the own group is above the other
        scores = np.asarray(scorer.scores(0, 2)).reshape(2, 2, 15).mean(axis=2)
        return float(np.sum(scores.argmax(axis=1) == [0, 1]))

    made = Baselines(many(), seconds=60, repeats=True, histories=histories, measure=measure)
    scorers = made.scorers(histories)
    assert list(scorers) == ["popularity", "popularity_last_week", "bought_before", "item_knn", "ease", "ials"]
    assert all(np.shape(s.scores(0, 3)) == (3, 30) and (s.size, s.catalogue) == (3, 30) for s in scorers.values())
    assert made.skipped == {}
    assert {name: found["validation"] for name, found in made.settings.items()} == dict.fromkeys(made.settings, 2.0)
    assert set(made.settings["ials"]) == {
        "alpha", "regularization", "iterations", "history", "validation", "fits", "seconds",
    }


def test_what_has_no_time_is_left_out_with_a_reason(monkeypatch):
    histories = Ragged.from_lists([[1], [2]])
    made = Baselines(many(), seconds=0)
    assert list(made.scorers(histories)) == ["popularity", "popularity_last_week", "item_knn"]
    assert "takes about" in made.skipped["ease"] and "64 factors" in made.skipped["ials"]
    monkeypatch.setattr(ease, "LIMIT", 29)
    assert "30 items are more than the 29" in Baselines(many(), seconds=60).skipped["ease"]


def test_last_week_needs_more_than_a_week():
    short = many()
    short = events(short.users, short.items, 30, short.timestamps // 2)
    assert "popularity_last_week" not in Baselines(short, seconds=0).scorers(Ragged.from_lists([[1]]))


def test_one_slow_probe_does_not_leave_ease_out(monkeypatch):
    clock = iter([0.0, 9.0, 10.0, 11.0, 20.0, 22.0])  # probes of 9, 1 and 2 seconds
    monkeypatch.setattr(ease.time, "perf_counter", lambda: next(clock))
    assert ease.expected_seconds(3 * 1000) == pytest.approx(1.0 * 3**3)


@pytest.mark.parametrize("by_all, by_one, chosen", [([0.2, 0.9, 0.1], [0.3, 0.3, 0.3], 1), ([0.2] * 3, [0.3] * 3, 2)])
def test_ease_takes_one_thread_where_all_of_them_are_slower(monkeypatch, by_all, by_one, chosen):
    """As beside other work on the machine."""
    blas = threadpoolctl.ThreadpoolController().select(user_api="blas")

    def threads():
        return max(library["num_threads"] for library in blas.info())

    asked = []
    monkeypatch.setattr(ease, "_probes", lambda precision, most=0: by_one if threads() == 1 else by_all)
    monkeypatch.setattr(ease, "_inverse", lambda gram, penalty: asked.append(threads()) or gram)
    with blas.limit(limits=2):  # as on two cores
        EASE(sparse.identity(3001, format="csr", dtype=np.float32), penalty=1.0)
        EASE(sparse.identity(3000, format="csr", dtype=np.float32), penalty=1.0)
        assert asked == [chosen, 1] and threads() == 2
        assert ease.expected_seconds(4000) == pytest.approx(min(by_one if chosen == 1 else by_all) * 4**3)


def test_small_fits_end_when_they_have_taken_longer_than_others(monkeypatch):
    clock = iter([0.0, 0.1, 1.0, 5.0, 6.0, 7.0])  # 0.1 and 4 seconds
    monkeypatch.setattr(ease.time, "perf_counter", lambda: next(clock))
    assert ease._probes(np.dtype(np.float32), most=0.3) == pytest.approx([0.1, 4.0])
