"""How different the interests of a query are, by hand."""

import numpy as np
import pytest

from tfrs_twotower.evaluation import interests

AXES = np.eye(3, dtype=np.float32)


def test_orthogonal_interests_share_nothing():
    candidates = np.repeat(AXES[:2], 10, axis=0)  # ten candidates on each of two axes
    found = interests(5.0 * AXES[np.newaxis, :2], candidates)
    assert found.cosine == pytest.approx(0.0) and found.overlap == 0.0


def test_one_interest_said_twice():
    found = interests(np.stack([AXES[[0, 0]], 2 * AXES[[1, 1]]]), np.random.default_rng(0).normal(size=(40, 3)))
    assert found.cosine == pytest.approx(1.0) and found.overlap == 1.0


def test_mean_over_pairs_of_interests():
    candidates = np.concatenate([np.repeat(AXES[:1], 10, axis=0), np.repeat(AXES[1:2], 10, axis=0)])
    found = interests(AXES[np.newaxis, [0, 0, 1]], candidates, block=1)  # of three pairs, one is the same twice
    assert found.cosine == pytest.approx(1 / 3) and found.overlap == pytest.approx(1 / 3)


def test_a_catalogue_of_fewer_than_ten():
    assert interests(AXES[np.newaxis, :2], AXES).overlap == 1.0
