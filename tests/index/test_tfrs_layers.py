"""The drop-in for TFRS's top-k layers, against TFRS's own BruteForce."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_twotower import extras
from tfrs_twotower.errors import IndexingError
from tfrs_twotower.index import IndexConfig, IndexTopK

IDS = tf.constant([f"item {i}" for i in range(500)])


@pytest.fixture(scope="module")
def vectors():
    vectors = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def queries():
    return np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32)


@pytest.fixture(params=["exact", "ivf", "scann"], scope="module")
def layer(request, vectors):
    if request.param == "scann" and not extras.available("scann"):
        pytest.skip("scann has no wheel for this system")
    return IndexTopK(IndexConfig(kind=request.param, k=100, target_recall=1.0), k=10).index(vectors, IDS)


def test_equals_brute_force(layer, vectors, queries):
    brute = tfrs.layers.factorized_top_k.BruteForce(k=10).index(tf.constant(vectors), IDS)
    for k in (None, 3):
        expected, found = brute(queries, k=k), layer(queries, k=k)
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
        np.testing.assert_array_equal(found[1], expected[1])
    assert layer.is_exact() == (layer.report["kind"] == "exact")


@pytest.mark.parametrize("with_ids", [True, False])
def test_index_from_dataset(vectors, queries, with_ids):
    candidates = tf.data.Dataset.from_tensor_slices(vectors).batch(64)
    if with_ids:
        candidates = tf.data.Dataset.zip((tf.data.Dataset.from_tensor_slices(IDS).batch(64), candidates))
    _, ids = IndexTopK(k=4).index_from_dataset(candidates)(queries)
    rows = np.argsort(-(queries @ vectors.T), axis=1)[:, :4]
    np.testing.assert_array_equal(ids, tf.gather(IDS, rows) if with_ids else rows)


def test_query_model_and_indexing_again(vectors, queries):
    layer = IndexTopK(query_model=tf.keras.layers.Lambda(lambda x: -x), k=3).index(vectors[:100])
    nothing = tf.zeros([6, 0], tf.int32)
    assert layer.query_with_exclusions(queries, nothing)[1].shape == (6, 3)
    layer.index(vectors)
    expected = np.argsort(queries @ vectors.T, axis=1)[:, :4]
    np.testing.assert_array_equal(layer(queries)[1], expected[:, :3])
    left = layer.query_with_exclusions(queries, tf.constant(expected[:, :1], tf.int32))[1]
    np.testing.assert_array_equal(left, expected[:, 1:])


def test_exclusions_of_any_width(layer, vectors, queries):
    search = tf.function(
        lambda queries, exclusions: layer.query_with_exclusions(queries, exclusions),
        input_signature=[tf.TensorSpec([None, 8]), tf.TensorSpec([None, None], tf.string)],
    )
    order = np.argsort(-(queries @ vectors.T), axis=1)
    for width in (0, 1, 40):
        exclusions = tf.gather(IDS, order[:, :width])
        _, ids = search(queries, exclusions)
        np.testing.assert_array_equal(ids, tf.gather(IDS, order[:, width:width + 10]))
    unknown = tf.fill([6, 2], "no such item")
    np.testing.assert_array_equal(search(queries, unknown)[1], tf.gather(IDS, order[:, :10]))


def test_a_repeated_identifier_is_excluded_everywhere(vectors, queries):
    ids = tf.constant(np.arange(500) // 5, tf.int64)  # each five times
    layer = IndexTopK(k=10).index(vectors, ids)
    best = layer(queries, k=1)[1]
    _, found = layer.query_with_exclusions(queries, best)
    order = np.argsort(-(queries @ vectors.T), axis=1) // 5
    expected = [[i for i in order[row] if i != int(best[row, 0])][:10] for row in range(6)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("ids, missing", [(IDS[:3], b""), (tf.constant([5, 6, 7]), -1)])
def test_padding_is_no_candidate(vectors, queries, ids, missing):
    scores, found = IndexTopK(k=5).index(vectors[:3], ids)(queries)
    assert set(found[0, :3].numpy()) == set(ids.numpy())
    assert np.all(found[:, 3:] == missing)
    np.testing.assert_array_equal(scores[:, 3:], np.finfo(np.float32).min)


def test_inside_factorized_top_k(layer, vectors):
    """The true candidate is the query itself for the first half, the worst one for the other."""
    metric = tfrs.metrics.FactorizedTopK(layer, ks=(1, 600))
    worst = np.argmin(vectors[250:] @ vectors.T, axis=1)
    truth = np.concatenate([np.arange(250), worst])
    metric.update_state(vectors, vectors[truth], true_candidate_ids=tf.gather(IDS, truth))
    assert [float(value) for value in metric.result()] == [0.5, 1.0]


def test_saved_model(layer, vectors, queries, tmp_path):
    before = layer(queries)
    exclusions = before[1][:, :2]
    kept = layer.query_with_exclusions(queries, exclusions)
    options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
    tf.saved_model.save(layer, str(tmp_path), options=options)
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_array_equal(loaded(queries)[1], before[1])
    np.testing.assert_array_equal(loaded.query_with_exclusions(queries, exclusions)[1], kept[1])


def test_wrong_use_is_told(vectors, queries):
    with pytest.raises(ValueError, match="`index` method must be called first"):
        IndexTopK()(queries)
    with pytest.raises(IndexingError, match=r"`identifiers` must be string, int32 or int64 of shape \[500\]"):
        IndexTopK().index(vectors, IDS[:7])
    with pytest.raises(IndexingError, match="`identifiers` must be string"):
        IndexTopK().index(vectors, tf.zeros([500]))
