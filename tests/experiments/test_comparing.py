"""Rates, intervals and tests of an experiment, against numbers by hand and by simulation."""

import numpy as np
import pytest
from scipy import stats

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.experiments import Participants, compare_arms, comparing, imbalance


def participants(**arms):
    """{arm: [(answers, events, before)]}"""
    rows = [(name, *row) for name, listed in arms.items() for row in listed]
    arm, answers, events, before = (np.array(values) for values in zip(*rows))
    return Participants(arm.astype(object), answers, events, before)


def test_rates_per_user_and_per_answer_by_hand():
    found = participants(a=[(2, 1, 0), (4, 2, 0)], b=[(1, 1, 0), (3, 3, 0)])
    a, b = compare_arms(found, "a")
    assert (a.users, a.answers, a.events, a.rate, b.rate, b.difference) == (2, 6, 3, 1.5, 2.0, 0.5)
    a, b = compare_arms(found, "a", per="answer")
    assert (a.rate, b.rate, b.difference) == (0.5, 1.0, 0.5)
    # Every user of an arm has the same rate per answer, so the ratio has no variance.
    assert b.interval is None


def test_the_fixed_interval_is_welchs():
    rng = np.random.default_rng(0)
    a, b = rng.poisson(1.0, 200), rng.poisson(1.3, 100)
    found = participants(a=[(1, n, 0) for n in a], b=[(1, n, 0) for n in b])
    row = compare_arms(found, "a")[1]
    low, high = row.fixed_interval
    spread = np.sqrt(a.var(ddof=1) / 200 + b.var(ddof=1) / 100)
    assert (low + high) / 2 == pytest.approx(b.mean() - a.mean())
    assert high - low == pytest.approx(2 * 1.97 * spread, rel=0.01)
    assert row.interval[1] - row.interval[0] > high - low and row.p > row.fixed_p


def test_the_spread_of_a_rate_per_answer_is_that_of_resampled_users():
    rng = np.random.default_rng(1)
    answers = rng.integers(1, 20, 400)
    events = rng.binomial(answers, 0.2)
    found = participants(a=[(1, 0, 0), (1, 1, 0)], b=list(zip(answers, events, [0] * 400)))
    row = compare_arms(found, "a", per="answer")[1]
    draws = rng.integers(0, 400, (2000, 400))
    resampled = events[draws].sum(1) / answers[draws].sum(1)
    assert row.rate == pytest.approx(events.sum() / answers.sum())
    values = comparing._values(found, found.arm == "b", "answer")
    assert values.std(ddof=1) / 20 == pytest.approx(resampled.std(), rel=0.1)


def test_arms_that_do_not_differ_are_told_apart_rarely_however_often_one_looks():
    """100 experiments of 4,000 users, looked at 20 times each: Welch's interval is wrong in far more than 5%."""
    rng = np.random.default_rng(2)
    wrong = fixed = 0
    for _ in range(100):
        events, arm = rng.negative_binomial(1, 0.5, 4000), rng.integers(0, 2, 4000)
        seen = seen_fixed = False
        for n in range(200, 4001, 200):
            found = Participants(np.array(["a", "b"], object)[arm[:n]], np.ones(n, int), events[:n], np.zeros(n, int))
            row = compare_arms(found, "a", planned=4000)[1]
            seen |= row.p < 0.05
            seen_fixed |= row.fixed_p < 0.05
            assert (row.p < 0.05) == (row.interval[0] > 0 or row.interval[1] < 0)
        wrong, fixed = wrong + seen, fixed + seen_fixed
    assert wrong <= 5 and fixed > 12


def test_a_difference_is_found():
    rng = np.random.default_rng(3)
    found = participants(a=[(1, n, 0) for n in rng.poisson(1.0, 3000)], b=[(1, n, 0) for n in rng.poisson(1.2, 3000)])
    row = compare_arms(found, "a")[1]
    assert row.interval[0] > 0 and row.interval[0] < 0.2 < row.interval[1] and row.p < 0.001


def test_cuped_leaves_the_difference_and_narrows_the_interval():
    rng = np.random.default_rng(4)

    def arm(rate):
        habit = rng.gamma(1.0, 1.0, 3000)
        return [(1, *pair) for pair in zip(rng.poisson(4 * rate * habit), rng.poisson(4 * habit))]

    found = participants(a=arm(1.0), b=arm(1.1))
    plain, adjusted = (compare_arms(found, "a", cuped=cuped)[1] for cuped in (False, True))
    width = [row.interval[1] - row.interval[0] for row in (plain, adjusted)]
    # cov(events, before) = 16 var(habit), so the share of the variance that is left is 1 - ρ² ≈ 1 - 0.8² = 0.36
    assert width[1] / width[0] == pytest.approx(0.6, abs=0.06)
    assert adjusted.interval[0] < 0.4 < adjusted.interval[1]


def test_several_arms_share_the_level():
    rng = np.random.default_rng(5)
    arms = {name: [(1, n, 0) for n in rng.poisson(1.0, 500)] for name in "abc"}
    alone = compare_arms(participants(a=arms["a"], b=arms["b"]), "a", alpha=0.025)[1]
    shared = compare_arms(participants(**arms), "a", alpha=0.05)[1]
    assert (shared.interval, shared.fixed_interval) == (alone.interval, alone.fixed_interval)
    assert (shared.p, shared.fixed_p) == (min(1.0, 2 * alone.p), min(1.0, 2 * alone.fixed_p))


@pytest.mark.parametrize("more", [0.06, 0.07, 0.10, 0.11])
def test_with_several_arms_too_p_says_what_the_interval_says(more):
    def arm(rate):  # a share of 1 − rate has no event, so the mean is `rate`
        return [(1, int(n < 2000 * rate), 0) for n in range(2000)]

    found = participants(a=arm(0.5), b=arm(0.5), c=arm(0.5), d=arm(0.5 + more / 2))
    row = compare_arms(found, "a", planned=4000)[3]
    assert (row.p < 0.05) == (row.interval[0] > 0)
    assert (row.fixed_p < 0.05) == (row.fixed_interval[0] > 0)


def test_users_that_do_not_fit_the_shares_are_told():
    assert imbalance({"a": 500, "b": 500}, {"a": 0.5, "b": 0.5}) == 1.0
    assert imbalance({"a": 5000, "b": 4700}, {"a": 0.5, "b": 0.5}) == pytest.approx(stats.chi2.sf(300**2 / 9700, 1))
    assert imbalance({"a": 900, "b": 110}, {"a": 0.9, "b": 0.1}) > 0.2
    assert imbalance({"a": 900}, {"a": 0.9, "b": 0.1}) < 0.001  # an arm that answered nobody


def test_a_control_without_users_is_refused():
    with pytest.raises(ConfigError, match=r"`control` must have users.*\['b'\]"):
        compare_arms(participants(b=[(1, 1, 0)]), "a")
