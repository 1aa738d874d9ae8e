"""Intervals of known distributions."""

import tracemalloc

import numpy as np

from tfrs_twotower.evaluation import bootstrap


def test_interval_of_a_known_distribution():
    # 400 coin tosses, half of them heads: the mean's standard error is 0.5 / √400 = 0.025.
    values = np.tile([0.0, 1.0], 200)[:, None]
    low, high = bootstrap.intervals(values, replicates=4000, seed=1)[0]
    assert abs(low - (0.5 - 1.96 * 0.025)) < 0.004
    assert abs(high - (0.5 + 1.96 * 0.025)) < 0.004


def test_level_and_constant_values():
    values = np.stack([np.arange(100.0), np.full(100, 0.25)], axis=1)
    wide, narrow = (bootstrap.intervals(values, seed=3, level=level) for level in (0.99, 0.5))
    assert wide[0, 0] < narrow[0, 0] < 49.5 < narrow[0, 1] < wide[0, 1]
    assert wide[1].tolist() == [0.25, 0.25]


def test_bounds_are_percentiles_of_the_means():
    values = np.random.default_rng(0).random((20, 3))
    values[3:, 2] = np.nan  # some draws miss all three queries
    means = bootstrap.resampled_means(values, 333, seed=2)
    assert np.isnan(means[:, 2]).any()
    expected = np.nanpercentile(means, [2.5, 97.5], axis=0).T
    np.testing.assert_allclose(bootstrap.intervals(values, replicates=333, seed=2), expected)


def test_means_are_over_the_queries_that_belong():
    values = np.full((50, 2), np.nan)
    values[:, 0] = 3.0
    values[:5, 1] = 7.0
    means = bootstrap.resampled_means(values, replicates=200, seed=0)
    np.testing.assert_allclose(means[:, 0], 3.0)
    drawn = means[~np.isnan(means[:, 1]), 1]
    np.testing.assert_allclose(drawn, 7.0)
    assert len(drawn) > 190  # 5 of 50 queries are left out of a draw with probability 0.9^50 = 0.5%


def test_seeded_and_the_same_queries_for_every_column(monkeypatch):
    values = np.random.default_rng(0).random((300, 1)) * [1.0, 2.0]
    means = bootstrap.resampled_means(values, 50, seed=5)
    np.testing.assert_allclose(means[:, 1], 2 * means[:, 0])
    np.testing.assert_array_equal(means, bootstrap.resampled_means(values, 50, seed=5))
    assert not np.array_equal(means, bootstrap.resampled_means(values, 50, seed=6))
    for weights in (300 * 7, 10):  # blocks of 7 draws, the last one shorter; a draw that is larger than a block
        monkeypatch.setattr(bootstrap, "_WEIGHTS_AT_ONCE", weights)
        np.testing.assert_allclose(bootstrap.resampled_means(values, 50, seed=5), means)


def test_memory_does_not_grow_with_the_replicates(monkeypatch):
    monkeypatch.setattr(bootstrap, "_WEIGHTS_AT_ONCE", 100_000)
    values = np.random.default_rng(0).random((20_000, 2))
    tracemalloc.start()
    try:
        bootstrap.resampled_means(values, 300, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12e6  # all weights at once would be 300 · 20,000 numbers of 8 bytes: 48 MB
