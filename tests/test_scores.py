"""What evaluation, index and export all do with scores."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_twotower.evaluation import DotScorer
from tfrs_twotower.index import Exact, search_interests
from tfrs_twotower.scores import best, best_of_interests, block_top_k


def test_the_best_interest_counts_and_all_who_apply_the_rule_agree():
    queries = np.array([[[1.0, 0.0], [0.0, 2.0]], [[-1.0, 0.0], [0.0, -1.0]]], np.float32)
    items = np.array([[3.0, 1.0], [1.0, 1.0], [-2.0, 0.0]], np.float32)
    expected = [[3.0, 2.0, 0.0], [-1.0, -1.0, 2.0]]  # by hand: the larger of the two products
    found = best_of_interests(lambda query: tf.matmul(query, items, transpose_b=True), tf.constant(queries))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(DotScorer(queries, items).scores(0, 2), expected)
    answers = search_interests(Exact(items), tf.constant(queries), 3)
    np.testing.assert_array_equal(answers.rows, [[0, 1, 2], [2, 0, 1]])
    np.testing.assert_array_equal(answers.scores, [[3.0, 2.0, 0.0], [2.0, -1.0, -1.0]])


def test_one_vector_a_query_is_scored_as_it_is():
    found = best_of_interests(lambda query: query * 2.0, tf.constant([[1.0, -3.0]]))
    np.testing.assert_array_equal(found, [[2.0, -6.0]])


@settings(max_examples=40, deadline=None)
@given(
    columns=st.integers(1, 300), k=st.integers(1, 320), block=st.sampled_from([1, 3, 16, 128]),
    levels=st.integers(1, 1000), seed=st.integers(0, 99),
)
def test_blocks_of_any_length_give_a_stable_sort(columns, k, block, levels, seed):
    scores = np.random.default_rng(seed).integers(0, levels, size=(2, columns)).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    values, found = block_top_k(tf.constant(scores), k, block=block)
    np.testing.assert_array_equal(found, order)
    np.testing.assert_array_equal(values, np.take_along_axis(scores, order, axis=1))


@pytest.mark.parametrize("k", [2, 9])
def test_the_best_of_few_bring_what_is_beside_them(k):
    values, names = best(tf.constant([[1.0, 3.0, 2.0]]), tf.constant([["a", "b", "c"]]), k)
    assert values.numpy().tolist() == [[3.0, 2.0, 1.0][:k]] and names.numpy().tolist() == [[b"b", b"c", b"a"][:k]]
