"""Masks against a direct comparison."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.sampling import same_item, user_positives


@pytest.mark.parametrize("ids", [[7, 8, 7, 9], ["x", "y", "x", ""]])
def test_same_item(ids):
    mask = same_item(tf.constant(ids), tf.constant(ids[:3])).numpy()
    assert mask.tolist() == [
        [True, False, True, False],
        [False, True, False, False],
        [True, False, True, False],
    ]


def test_user_positives_by_hand():
    candidates = tf.constant([5, 3, 5, 9, -1])
    known = tf.constant([[5, -1, -1], [9, 3, 3], [4, -1, -1]])
    assert user_positives(candidates, known).numpy().tolist() == [
        [True, False, True, False, False],
        [False, True, False, True, False],
        [False, False, False, False, False],
    ]


def test_user_positives_of_strings():
    candidates = tf.constant(["e", "c", "e", ""])
    known = tf.constant([["e", ""], ["zz", "c"]])
    assert user_positives(candidates, known).numpy().tolist() == [
        [True, False, True, False],
        [False, True, False, False],
    ]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_user_positives_of_random_rows(dtype):
    rng = np.random.default_rng(0)
    candidates = rng.integers(0, 30, 50).astype(dtype)
    known = rng.integers(-1, 60, (40, 12)).astype(dtype)
    expected = (known[:, :, None] == candidates[None, None, :]).any(axis=1)
    graph = tf.function(user_positives)
    np.testing.assert_array_equal(graph(tf.constant(candidates), tf.constant(known)), expected)


def test_no_known_positives():
    assert not user_positives(tf.constant([1, 2]), tf.zeros([2, 0], tf.int32)).numpy().any()
    assert not user_positives(tf.constant([1, 2]), tf.constant([[-1], [-1]])).numpy().any()


def test_a_large_batch_needs_no_cube():
    """4096 × 4096 × 50 booleans would be 839 MB; known positives far outside the candidates cost nothing."""
    candidates = tf.range(4096)
    known = tf.concat([tf.range(4096)[:, None], tf.fill([4096, 49], 10**6)], axis=1)
    mask = user_positives(candidates, known).numpy()
    np.testing.assert_array_equal(mask, np.eye(4096, dtype=bool))
