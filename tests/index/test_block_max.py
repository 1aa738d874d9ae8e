"""Block-max top-k against a stable sort."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_twotower.errors import IndexingError
from tfrs_twotower.index import masked_top_k, top_k

LENGTHS = st.integers(1, 700) | st.integers(2048, 2400)  # from 2,049 on, rows are cut into blocks


def expected(scores, k):
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, rows, axis=1), rows


def test_by_hand():
    found = top_k(tf.constant([[1.0, 5.0, 3.0, 5.0]]), 3)
    np.testing.assert_array_equal(found.scores, [[5, 5, 3]])
    np.testing.assert_array_equal(found.rows, [[1, 3, 2]])


@settings(max_examples=40, deadline=None)
@given(
    columns=LENGTHS, k=st.integers(1, 800), batch=st.integers(0, 3), levels=st.integers(1, 1000),
    seed=st.integers(0, 99),
)
def test_equals_a_stable_sort(columns, k, batch, levels, seed):
    scores = np.random.default_rng(seed).integers(0, levels, size=(batch, columns)).astype(np.float32)
    values, rows = expected(scores, k)
    found = top_k(tf.constant(scores), k)
    real = min(k, columns)
    assert found.rows.shape == found.scores.shape == (batch, k)
    np.testing.assert_array_equal(found.rows[:, :real], rows)
    np.testing.assert_array_equal(found.scores[:, :real], values)
    assert np.all(found.rows[:, real:] == -1) and np.all(np.isneginf(found.scores[:, real:]))


@settings(max_examples=20, deadline=None)
@given(size=LENGTHS, k=st.integers(1, 40), seed=st.integers(0, 99))
def test_filler_is_never_returned_and_hides_nothing(size, k, seed):
    scores = -np.random.default_rng(seed).random((2, size)).astype(np.float32)
    filled = np.pad(scores, [(0, 0), (0, -size % 128)])  # zeros: above every real score
    found = top_k(tf.constant(filled), k, size)
    np.testing.assert_array_equal(found.rows[:, :min(k, size)], expected(scores, k)[1])
    assert np.all(found.rows[:, size:] == -1)


def test_unknown_shape_and_dynamic_k():
    function = tf.function(top_k, input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([], tf.int32)])
    scores = np.random.default_rng(0).normal(size=(3, 500)).astype(np.float32)
    for k in (1, 17, 500):
        np.testing.assert_array_equal(function(scores, k).rows, expected(scores, k)[1])
    assert function(scores, 501).rows[0, 500] == -1


def test_masked_columns_are_not_candidates():
    scores = tf.constant([[1.0, 2.0, 3.0, 4.0]])
    found = masked_top_k(scores, tf.constant([[True, False, True, False]]), 3)
    np.testing.assert_array_equal(found.rows, [[2, 0, -1]])
    np.testing.assert_array_equal(found.scores, [[3, 1, -np.inf]])


def test_k_below_one_is_refused():
    with pytest.raises(IndexingError, match="`k` must be an integer of at least 1. Received: k=0"):
        top_k(tf.zeros([1, 4]), 0)
