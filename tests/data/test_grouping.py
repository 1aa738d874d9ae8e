"""Positions by group."""

import numpy as np

from tfrs_twotower.data.grouping import grouped


def test_by_hand():
    assert grouped(np.array([2, 0, 2, 3, 0], np.int32), 5).tolist() == [1, 4, 0, 2, 3]
    assert grouped(np.zeros(0, np.int32), 3).tolist() == []


def test_it_is_a_stable_sort():
    groups = np.random.default_rng(0).integers(0, 50, 10_000).astype(np.int32)
    assert np.array_equal(grouped(groups, 60), np.argsort(groups, kind="stable"))
