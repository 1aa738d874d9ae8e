"""The factorisation machine as two towers: the inner product is its score, computed pair by pair."""

import itertools

import numpy as np
import pytest

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.towers import FMCandidate, FMQuery, build_encoder

import tensorflow as tf  # isort: skip

DIM = 6


def fields(seed, dims, rows=3):
    return [tf.random.stateless_normal([rows, dim], [seed, i]) for i, dim in enumerate(dims)]


def test_the_inner_product_is_the_score_over_all_fields_of_both_towers():
    query, candidate = build_encoder(FMQuery(), 1, DIM), build_encoder(FMCandidate(), 2, DIM)
    users, items = fields(1, (4, 2, 5)), fields(2, (3, 7))
    u, v = query(users).numpy(), candidate(items).numpy()
    assert u.shape == v.shape == (3, DIM)
    parts = [query.terms(users), candidate.terms(items)]
    factors = np.concatenate([e.numpy() for e, _ in parts], axis=1)  # [row, 5 fields, 4]
    first_order = np.concatenate([terms.numpy() for _, terms in parts], axis=1)
    for row in range(3):
        pairs = itertools.combinations(factors[row], 2)
        expected = first_order[row].sum() + sum(a @ b for a, b in pairs)
        assert u[row] @ v[row] == pytest.approx(expected, rel=1e-4)


def test_by_hand():
    query, candidate = build_encoder(FMQuery(), 0, 4), build_encoder(FMCandidate(), 0, 4)
    one = tf.ones([1, 1])
    query([one, one]), candidate([one])
    query.set_weights([np.array([[1.0, 2.0, 0.5]]), np.array([[3.0, 0.0, 0.25]])])  # e = (1, 2), (3, 0); l = ½, ¼
    candidate.set_weights([np.array([[1.0, 1.0, 2.0]])])  # e = (1, 1); l = 2
    np.testing.assert_allclose(query([one, one]), [[4.0, 2.0, 3.75, 1.0]])  # ½ + ¼ + ⟨(1, 2), (3, 0)⟩
    np.testing.assert_allclose(candidate([one]), [[1.0, 1.0, 1.0, 2.0]])


def test_a_vector_too_short_is_refused():
    with pytest.raises(ConfigError, match="`dim` must be at least 3"):
        build_encoder(FMQuery(), dim=2)
