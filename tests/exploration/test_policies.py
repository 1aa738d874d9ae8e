"""Policies against probabilities that are known, and regret on planted rates."""

import numpy as np
import pytest

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.exploration import EpsilonGreedy, Exploration, Thompson, simulate

SHOWN = np.array([10, 4, 0])
CLICKED = np.array([1, 2, 0])
MEANS = [2 / 12, 3 / 6, 1 / 2]  # with the prior (1, 1)


def firsts(policy, draws=4000, shown=SHOWN, clicked=CLICKED):
    """The share of the draws in which each item comes first."""
    random = np.random.default_rng(5)
    return np.bincount([policy.order(shown, clicked, random)[0][0] for _ in range(draws)], minlength=3) / draws


def test_without_epsilon_the_highest_mean_comes_first_and_equal_ones_take_turns():
    rows, scores = EpsilonGreedy(epsilon=0.0).order(SHOWN, CLICKED, np.random.default_rng(0))
    assert sorted(rows[:2]) == [1, 2] and rows[2] == 0
    np.testing.assert_allclose(scores, [MEANS[row] for row in rows])
    np.testing.assert_allclose(firsts(EpsilonGreedy(epsilon=0.0)), [0, 0.5, 0.5], atol=0.03)


def test_epsilon_is_the_share_of_random_choices():
    # The best is item 1 for sure: (1 − ε) + ε / 3 of the choices; each other one ε / 3.
    found = firsts(EpsilonGreedy(epsilon=0.3), clicked=np.array([1, 4, 0]))
    np.testing.assert_allclose(found, [0.1, 0.8, 0.1], atol=0.02)
    np.testing.assert_allclose(firsts(EpsilonGreedy(epsilon=1.0)), [1 / 3] * 3, atol=0.03)


def test_thompson_chooses_an_item_as_often_as_it_is_the_best():
    # P(θ₀ > θ₁) for θ₀ ~ Beta(1, 1), θ₁ ~ Beta(2, 1): ∫ (1 − x) 2x dx = 1/3.
    shown, clicked = np.array([0, 1]), np.array([0, 1])
    np.testing.assert_allclose(firsts(Thompson(), shown=shown, clicked=clicked)[:2], [1 / 3, 2 / 3], atol=0.03)
    # Of three that nothing is known of, each a third; with much evidence, none but the best.
    nothing = np.zeros(3, int)
    np.testing.assert_allclose(firsts(Thompson(), shown=nothing, clicked=nothing), [1 / 3] * 3, atol=0.03)
    assert firsts(Thompson(), shown=np.full(3, 1000), clicked=np.array([100, 300, 200]))[1] == 1


def test_thompson_draws_from_the_posterior():
    random = np.random.default_rng(3)
    draws = np.array([Thompson(2.0, 3.0).order(SHOWN, CLICKED, random) for _ in range(4000)])
    of_first = draws[:, 1][draws[:, 0] == 0]
    np.testing.assert_allclose(of_first.mean(), (2 + 1) / (2 + 3 + 10), atol=0.005)
    assert (np.diff(draws[:, 1], axis=1) <= 0).all()


def test_every_item_has_one_place():
    for policy in (EpsilonGreedy(epsilon=0.5), Thompson()):
        rows, scores = policy.order(np.arange(50), np.arange(50) // 2, np.random.default_rng(0))
        assert sorted(rows) == list(range(50)) and len(scores) == 50
        nothing = policy.order(np.zeros(0, int), np.zeros(0, int), np.random.default_rng(0))
        assert [len(part) for part in nothing] == [0, 0]


@pytest.mark.parametrize("make", [
    lambda: EpsilonGreedy(epsilon=1.5), lambda: EpsilonGreedy(prior_clicks=0.0), lambda: Thompson(prior_misses=-1.0),
    lambda: Exploration(share=-0.1), lambda: Exploration(cap=0),
])
def test_settings_that_mean_nothing_are_refused(make):
    with pytest.raises(ConfigError, match="must be"):
        make()


RATES = [0.1, 0.5, 0.2, 0.3]


def test_regret_is_what_the_oracle_gains_more():
    # Uniform choice loses 0.5 − mean(0.1, 0.5, 0.2, 0.3) = 0.225 a round.
    regret, shown = simulate(EpsilonGreedy(epsilon=1.0), RATES, rounds=4000)
    assert shown.sum() == 4000 and (np.diff(regret) >= 0).all()
    assert regret[-1] == pytest.approx(0.4 * shown[0] + 0.3 * shown[2] + 0.2 * shown[3])
    assert regret[-1] / 4000 == pytest.approx(0.225, abs=0.01)


@pytest.mark.parametrize("policy", [Thompson(), EpsilonGreedy(epsilon=0.1)])
def test_the_best_item_gets_most_of_the_traffic(policy):
    regret, shown = simulate(policy, RATES, rounds=2000)
    assert shown[1] > 1600
    assert regret[-1] < 0.25 * 0.225 * 2000
    assert regret[-1] - regret[999] < regret[999]  # the second half costs less than the first


def test_with_a_cap_all_that_is_left_is_the_order():
    regret, shown = simulate(Thompson(), RATES, rounds=400, cap=100)
    assert shown.tolist() == [100] * 4
    assert regret[-1] == pytest.approx(0) and regret.max() > 0
    halfway, shown = simulate(Thompson(), RATES, rounds=200, cap=100)
    assert shown.max() == 100
    assert halfway[-1] == pytest.approx(50 + 30 - np.dot(shown, RATES))
