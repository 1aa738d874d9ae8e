"""w · log p(item) in the score: by hand, and through every way that a saved model scores."""

import numpy as np
import pytest
import tensorflow as tf

from tests.exporting.given import DIM, Given, unit
from tfrs_twotower import columns as c
from tfrs_twotower.data import log_popularity
from tfrs_twotower.exporting import Retriever, searched_candidates, searched_queries, signatures
from tfrs_twotower.index import IVF, Exact, ScaNN

ITEMS, TAU, W = 300, 0.05, 0.7
VECTORS, QUERIES = unit(ITEMS, seed=1), unit(6, seed=2)
IDS = np.array([f"i{n}" for n in range(ITEMS)], object)
LOG_P = log_popularity(np.random.default_rng(3).zipf(1.3, ITEMS).clip(max=10_000)).astype(np.float32)
SCORES = QUERIES @ VECTORS.T / TAU + W * LOG_P
SEARCHED = searched_candidates(VECTORS, LOG_P, np.float32(TAU * W)).numpy()


def retriever(index):
    return Retriever(Given(), Given(), VECTORS, IDS, index, TAU, LOG_P, popularity_weight=W)


def test_by_hand():
    np.testing.assert_allclose(log_popularity([1, 3, 7, 0]), np.log(np.array([2, 4, 8, 1]) / 15), rtol=1e-6)


def test_one_more_dimension_is_the_same_score():
    product = searched_queries(QUERIES).numpy() @ SEARCHED.T / TAU
    np.testing.assert_allclose(product, SCORES, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """With an index. Without one, all is exact search, which `recommend_exact` is here too."""
    made = retriever(ScaNN(SEARCHED, leaves=4, leaves_to_search=4, reorder=ITEMS))
    folder = str(tmp_path_factory.mktemp("popular"))
    options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
    tf.saved_model.save(made, folder, signatures(made), options)
    return tf.saved_model.load(folder)


@pytest.mark.parametrize("index, shared", [(Exact, True), (lambda vectors: IVF(vectors, leaves=4, probes=4), False)])
def test_without_an_index_both_searches_are_one_function(index, shared):
    found = signatures(retriever(index(SEARCHED)))
    assert (found["serving_default"] is found["recommend_exact"]) == shared


def ask(served, k, signature="serving_default", beta=0.0, **inputs):
    none = tf.constant([[]], tf.string)
    answer = served.signatures[signature](**{
        "vector": tf.constant(QUERIES), c.K: tf.constant(k), c.EXCLUDE_IDS: none, c.ALLOW_IDS: none,
        c.POPULARITY_BETA: tf.constant(beta), **inputs,
    })
    return answer[c.IDS].numpy().astype(str), answer[c.SCORES].numpy()


def best(scores, k):
    order = np.argsort(-scores, axis=1)[:, :k]
    return IDS[order].astype(str), np.take_along_axis(scores, order, axis=1)


@pytest.mark.parametrize("signature", ["serving_default", "recommend_exact"])
@pytest.mark.parametrize("beta", [0.0, W, -1.0])
def test_the_weight_and_beta_add_up(served, signature, beta):
    ids, scores = ask(served, 7, signature, beta)
    expected = best(SCORES - beta * LOG_P, 7)
    np.testing.assert_allclose(scores, expected[1], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(ids, expected[0])


def test_pairs_have_it_and_similar_items_do_not(served):
    given = IDS[[[0, 5, 9]]].astype(str)
    pairs = served.signatures["score_pairs"](vector=tf.constant(QUERIES), candidate_ids=tf.constant(given))
    np.testing.assert_allclose(pairs[c.SCORES], SCORES[:, [0, 5, 9]], rtol=1e-4, atol=1e-4)
    similar = served.signatures["similar_items"](item_id=tf.constant(["i3"]), k=tf.constant(4))
    near = VECTORS[3] @ VECTORS.T
    near[3] = -np.inf
    np.testing.assert_array_equal(similar[c.IDS].numpy().astype(str), best(near[np.newaxis], 4)[0])


def test_a_new_item_counts_as_the_median(served):
    overlay = {c.OVERLAY_IDS: tf.constant(["new", "i0"]), c.OVERLAY_VECTORS: tf.constant(unit(2, seed=4)),
               c.WITHDRAWN_IDS: tf.constant([], tf.string)}
    answers = [dict(zip(*row)) for row in zip(*ask(served, ITEMS + 1, "recommend_fresh", **overlay))]
    expected = QUERIES @ unit(2, seed=4).T / TAU + W * np.array([np.median(LOG_P), LOG_P[0]])
    for answer, (new, moved) in zip(answers, expected):
        assert answer["new"] == pytest.approx(new, abs=1e-3)
        assert answer["i0"] == pytest.approx(moved, abs=1e-3)


def test_vectors_keep_their_length(served):
    vector = served.signatures["embed_query"](vector=tf.constant(QUERIES))[c.EMBEDDING]
    assert vector.shape == (6, DIM)
    ids, _ = ask_by_vector(served, vector, 5)
    np.testing.assert_array_equal(ids, best(SCORES, 5)[0])


def ask_by_vector(served, vector, k):
    none = tf.constant([[]], tf.string)
    answer = served.signatures["recommend_by_vector"](
        embedding=vector, k=tf.constant(k), exclude_ids=none, allow_ids=none, popularity_beta=tf.constant(0.0)
    )
    return answer[c.IDS].numpy().astype(str), answer[c.SCORES].numpy()
