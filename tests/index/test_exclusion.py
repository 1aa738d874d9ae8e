import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_twotower.index import Exact, TopK, contains, exclude


def answer(rows):
    rows = np.array(rows, np.int32)
    return TopK(tf.constant(-np.arange(rows.size, dtype=np.float32).reshape(rows.shape)), tf.constant(rows))


@pytest.mark.parametrize("excluded, left", [
    ([[]], [7, 3, 9]),
    ([[-1]], [7, 3, 9]),
    ([[3, 100, 3]], [7, 9, 5]),
    ([[5, 9, 3, 7, -1]], [-1, -1, -1]),
    ([[9, 3, 7]], [5, -1, -1]),
])
def test_by_hand(excluded, left):
    found = exclude(answer([[7, 3, 9, 5]]), tf.constant(excluded, tf.int32), 3)
    np.testing.assert_array_equal(found.rows, [left])
    np.testing.assert_array_equal(np.isneginf(found.scores), [np.array(left) < 0])


def test_one_list_for_the_whole_batch_and_what_was_padding_stays_padding():
    found = TopK(tf.constant([[3.0, 2.0, -np.inf], [3.0, 2.0, 1.0]]), tf.constant([[0, 1, -1], [2, 1, 0]]))
    left = exclude(found, tf.constant([[1]]), 2)
    np.testing.assert_array_equal(left.rows, [[0, -1], [2, 0]])


@pytest.mark.parametrize("ordered, found", [
    ([], [[False, False], [False, False]]),
    ([-5, 7], [[False, True], [False, True]]),
    ([-(2**63), -1, 3, 2**63 - 1], [[True, False], [True, False]]),
])
def test_contains_by_hand(ordered, found):
    values = tf.constant([[-(2**63), 7], [2**63 - 1, -5]])
    np.testing.assert_array_equal(contains(tf.constant(ordered, tf.int64), values), found)
    assert not contains(tf.constant(ordered, tf.int64), tf.constant([-1], tf.int64)).numpy().any()


def test_other_codes_than_rows():
    codes = tf.constant([[10, 20, 10, 40]], tf.int64)
    found = exclude(answer([[0, 1, 2, 3]]), tf.constant([[10]], tf.int64), 4, codes)
    np.testing.assert_array_equal(found.rows, [[1, 3, -1, -1]])


@settings(max_examples=25, deadline=None)
@given(width=st.integers(0, 12), k=st.integers(1, 30), seed=st.integers(0, 99))
def test_over_fetching_leaves_the_best_of_the_rest(width, k, seed):
    generator = np.random.default_rng(seed)
    vectors, queries = generator.normal(size=(20, 4)), generator.normal(size=(3, 4))
    excluded = generator.integers(-1, 25, size=(3, width)).astype(np.int32)
    scores = queries.astype(np.float32) @ vectors.astype(np.float32).T
    expected = [
        ([row for row in np.argsort(-scores[i]) if row not in excluded[i]] + k * [-1])[:k] for i in range(3)
    ]
    found = exclude(Exact(vectors).search(queries, k + width), tf.constant(excluded), k)
    np.testing.assert_array_equal(found.rows, expected)
