"""Search with several vectors a query: merged, each candidate once, by its best interest."""

import numpy as np
import pytest

from tfrs_twotower.index import IVF, Exact, ScaNN, search_interests
from tfrs_twotower.index.interests import merged

import tensorflow as tf  # isort: skip


def test_merged_by_hand():
    scores = tf.constant([[0.9, 0.5, 0.1, 0.8, 0.7, -np.inf]])
    rows = tf.constant([[4, 7, 2, 7, 4, -1]])
    found = merged(scores, rows, 4)
    assert found.rows.numpy().tolist() == [[4, 7, 2, -1]]
    np.testing.assert_allclose(found.scores, [[0.9, 0.8, 0.1, -np.inf]])


@pytest.mark.parametrize("kind", ["exact", "ivf", "scann"])
def test_every_index_finds_the_best_by_the_maximum_over_interests(kind):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 6)).astype(np.float32)
    queries = rng.normal(size=(5, 3, 6)).astype(np.float32)
    queries[4, 1:] = queries[4, 0]  # one interest said three times still fills the answer
    make = {
        "exact": Exact,
        "ivf": lambda v: IVF(v, leaves=10, probes=10),
        "scann": lambda v: ScaNN(v, leaves=10, leaves_to_search=10, reorder=300),
    }[kind]
    index = make(vectors)
    best = np.max(queries @ vectors.T, axis=1)
    expected = np.argsort(-best, axis=1)[:, :20]
    search = tf.function(lambda q, k: search_interests(index, q, k))
    for k in (1, 20, 400):
        found = search(tf.constant(queries), tf.constant(k))
        assert found.rows.shape == (5, k)
        np.testing.assert_array_equal(found.rows[:, :20], expected[:, :k])
        np.testing.assert_allclose(found.scores[:, :20], np.sort(best, axis=1)[:, ::-1][:, : min(k, 20)], rtol=1e-5)
    everything = search(tf.constant(queries), tf.constant(400)).rows.numpy()
    assert (np.sort(everything[:, :300], axis=1) == np.arange(300)).all() and (everything[:, 300:] == -1).all()


def test_one_vector_a_query_is_the_plain_search():
    vectors = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    index = Exact(vectors)
    np.testing.assert_array_equal(
        search_interests(index, tf.constant(vectors[:3]), 5).rows, index.search(vectors[:3], 5).rows
    )
