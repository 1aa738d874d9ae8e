"""Parallel towers: the weighted sum of the branches' scores is one inner product."""

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import Id, Number, Schema, build_fields
from tfrs_twotower.recipe import ModelConfig
from tfrs_twotower.towers import (
    CIN,
    DCN,
    MLP,
    FMCandidate,
    FMQuery,
    ParallelCandidate,
    ParallelQuery,
    Tower,
    build_encoder,
)

import tensorflow as tf  # isort: skip

DIM = 12


@pytest.fixture
def towers():
    """(query encoder, its fields' embeddings, candidate encoder, its fields' embeddings)."""
    users = [tf.random.stateless_normal([5, dim], [1, dim]) for dim in (4, 3)]
    items = [tf.random.stateless_normal([5, dim], [2, dim]) for dim in (6, 2, 3)]
    return build_encoder(ParallelQuery(), 1, DIM), users, build_encoder(ParallelCandidate(), 2, DIM), items


def test_the_inner_product_is_the_weighted_sum_of_the_branches(towers):
    query, users, candidate, items = towers
    query(users)
    weights = np.random.default_rng(0).normal(size=DIM).astype(np.float32)
    query.branch_weights.assign(weights)
    apart = [u * v for u, v in zip(query.vectors(users), candidate.vectors(items))]
    assert apart[0].shape == (5, DIM // 3)
    score = tf.reduce_sum(query(users) * candidate(items), axis=1)
    np.testing.assert_allclose(score, np.concatenate(apart, axis=1) @ weights, rtol=1e-4)


def test_every_dimension_has_a_weight_that_starts_at_one_and_is_trained(towers):
    query, users, candidate, items = towers
    with tf.GradientTape() as tape:
        score = tf.reduce_sum(query(users) * candidate(items))
    gradient = tape.gradient(score, query.branch_weights)
    apart = [tf.reduce_sum(u * v, axis=0) for u, v in zip(query.vectors(users), candidate.vectors(items))]
    np.testing.assert_allclose(gradient, tf.concat(apart, axis=0), rtol=1e-4)
    np.testing.assert_array_equal(query.branch_weights, np.ones(DIM))
    assert candidate.branch_weights is None


def test_branches_end_like_towers_but_the_machine_as_it_is(towers):
    query, users, _, _ = towers
    mlp, cross, machine = query.vectors(users)
    for branch in (mlp, cross):
        np.testing.assert_allclose(np.linalg.norm(branch, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(machine[:, -1], np.ones(5))


def test_branches_and_lengths_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="`dim` must be a multiple of the 3 branches"):
        build_encoder(ParallelQuery(), dim=64)
    with pytest.raises(ConfigError, match="ParallelQuery.branches.*encoder of the query"):
        ParallelQuery(branches=(MLP(), FMCandidate()))
    with pytest.raises(ConfigError, match="ParallelCandidate.branches"):
        ParallelCandidate(branches=())
    with pytest.raises(ConfigError, match="configures no encoder"):
        ParallelQuery(branches=(MLP(), "DCN"))


def test_cin_is_a_branch():
    branches = (MLP(), DCN(), CIN(maps=(4,), dim=2))
    query = build_encoder(ParallelQuery(branches=branches), dim=DIM)
    users = [tf.random.stateless_normal([5, 3], [1, 2])]
    assert query(users).shape == (5, DIM)
    np.testing.assert_allclose(np.linalg.norm(query.vectors(users)[2], axis=1), 1, rtol=1e-5)


def test_each_side_has_its_own_encoders():
    with pytest.raises(ConfigError, match="ModelConfig.candidate_encoder.*encoder of the candidate"):
        ModelConfig(query_encoder=FMQuery(), candidate_encoder=FMQuery(), similarity="dot")
    with pytest.raises(ConfigError, match="configures no encoder"):
        ModelConfig(query_encoder="MLP")


def test_a_vector_encoder_is_not_projected_and_wants_dot():
    schema = Schema(query=(Number("price", dim=2),), candidate=(Id("item_id"),))
    fields, _ = build_fields(schema)
    fields[0].adapt({"price": pa.array([1.0, 3.0])}, np.array([1, 1]))
    made = Tower(fields, ParallelQuery(branches=(DCN(), FMQuery())), 8, normalise=False)
    inputs = made.encode({"price": tf.constant([2.5, -1.0])})
    np.testing.assert_array_equal(made(inputs), made.encoder([fields[0](inputs["normalise_price"])]))
    with pytest.raises(ConfigError, match="`similarity` must be 'dot' with FMQuery"):
        Tower(fields, FMQuery(), 8, normalise=True)
