"""A retriever with a reranker: who is rescored, what filters do, and what an export leaves out."""

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.exporting import Retriever, signatures
from tfrs_twotower.features import Id, Schema, build_fields
from tfrs_twotower.index import IVF
from tfrs_twotower.rerankers import NeuralCF, Reranking
from tfrs_twotower.towers import MLP, Tower

import tensorflow as tf  # isort: skip

ITEMS, TOP = 30, 8


@pytest.fixture(scope="module", params=["exact", "ivf"])
def retriever(request):
    rng = np.random.default_rng(0)
    fields = build_fields(Schema(query=(Id("user_id", dim=4),), candidate=(Id("item_id", dim=4),)), seed=1)
    items = np.arange(ITEMS) + 100
    for (field,), ids in zip(fields, (["a", "b"], items)):
        field.adapt({field.feature.column: pa.array(ids)}, np.ones(len(ids), np.int64))
    query, candidate = (Tower(side, MLP(widths=()), 4, True, seed=2) for side in fields)
    vectors = candidate(candidate.encode({"item_id": tf.constant(items, tf.int64)})).numpy()
    reranker = NeuralCF(widths=(), top=TOP).build(query, candidate)
    reranking = Reranking(reranker, vectors)
    reranking.added(None, query(query.encode({"user_id": tf.constant(["a"])})), tf.constant([[0]]))
    reranker._output.kernel.assign(rng.normal(size=(12, 1)))
    index = IVF(vectors, leaves=4, probes=4) if request.param == "ivf" else None
    return Retriever(query, candidate, vectors, items, index, 0.5, np.zeros(ITEMS, np.float32), reranking)


USERS = {"user_id": tf.constant(["a", "b", "nobody"])}
NOTHING = tf.zeros([1, 0], tf.int64)


def ask(retriever, k, exclude=NOTHING, exact=False):
    ids, scores = retriever.recommend(USERS, tf.constant(k), exclude, NOTHING, tf.constant(0.0), exact=exact)
    return ids.numpy(), scores.numpy()


def retrieved(retriever, exclude=NOTHING):
    vectors = retriever.embed_query(USERS)
    return retriever.recommend_by_vector(vectors, tf.constant(ITEMS), exclude, NOTHING, tf.constant(0.0))[0].numpy()


def test_the_first_are_rescored_and_the_rest_follow_in_the_retrievals_order(retriever):
    before, (ids, scores) = retrieved(retriever), ask(retriever, ITEMS)
    assert (np.sort(ids[:, :TOP]) == np.sort(before[:, :TOP])).all() and (ids[:, :TOP] != before[:, :TOP]).any()
    assert (ids[:, TOP:] == before[:, TOP:]).all()
    assert (np.diff(scores) <= 0).all()
    pairs = retriever.score_pairs(USERS, tf.constant(ids)).numpy()
    np.testing.assert_allclose(pairs[:, :TOP], scores[:, :TOP], rtol=1e-5, atol=1e-5)


def test_a_small_k_is_the_beginning_of_a_large_one(retriever):
    everything, scores = ask(retriever, ITEMS)
    for k in (1, TOP - 1, TOP, TOP + 3, 10 * ITEMS):
        ids, values = ask(retriever, k)
        assert (ids == everything[:, :k]).all()
        np.testing.assert_allclose(values[:, :TOP], scores[:, : min(k, TOP)], rtol=1e-5)


def test_what_is_excluded_does_not_come_back_and_makes_room(retriever):
    first = ask(retriever, TOP)[0]
    exclude = tf.constant(first[:, ::2])
    ids = ask(retriever, TOP, exclude)[0]
    assert not (ids[:, :, np.newaxis] == first[:, np.newaxis, ::2]).any()
    expected = retrieved(retriever, exclude)[:, :TOP]
    assert (np.sort(ids) == np.sort(expected)).all()


def test_exact_search_is_reranked_too(retriever):
    assert (ask(retriever, TOP)[0] == ask(retriever, TOP, exact=True)[0]).all()


def test_no_signature_searches_by_vector(retriever):
    found = signatures(retriever)
    assert {"serving_default", "recommend_exact", "score_pairs", "similar_items"} <= set(found)
    assert not [name for name in found if "vector" in name or "fresh" in name]
