"""Rerankers: what they read, what they learn, and the order that comes of it."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import Category, Id, Number, Schema, build_fields
from tfrs_twotower.models import FixedTemperature, Positives, build_temperature
from tfrs_twotower.pipeline.second_stage import SecondStage
from tfrs_twotower.rerankers import COLD, NeuralCF, RerankerLoss, Reranking, reorder
from tfrs_twotower.towers import MLP, Tower

import tensorflow as tf  # isort: skip

NOTHING = float("-inf")


def test_reorder_by_hand():
    scores = tf.constant([[5.0, 4.0, 3.0, 2.0, 1.0], [5.0, 4.0, 3.0, 2.0, NOTHING]])
    rows = tf.constant([[10, 11, 12, 13, 14], [20, 21, 22, 23, -1]])
    found, order = reorder(scores, rows, tf.constant([[0.0, 2.0, -2.0], [0.0, 0.5, 0.25]]))
    assert order.numpy().tolist() == [[11, 10, 12, 13, 14], [20, 21, 22, 23, -1]]
    # the third has 1.0 now: those behind it are lowered by 1; in the second row nothing is in the way
    np.testing.assert_array_equal(found, [[6.0, 5.0, 1.0, 1.0, 0.0], [5.0, 4.5, 3.25, 2.0, NOTHING]])


def test_reorder_of_fewer_than_are_rescored():
    scores, rows = tf.constant([[3.0, 2.0, NOTHING], [NOTHING] * 3]), tf.constant([[7, 8, -1], [-1, -1, -1]])
    found, order = reorder(scores, rows, tf.constant([[0.0, 9.0, 99.0]] * 2))
    assert order.numpy().tolist() == [[8, 7, -1], [-1, -1, -1]]
    np.testing.assert_array_equal(found, [[11.0, 3.0, NOTHING], [NOTHING] * 3])


def towers():
    query, candidate = build_fields(
        Schema(query=(Id("user_id", dim=3), Number("age", dim=2)), candidate=(Id("item_id", dim=3), Category("kind"))),
        seed=1,
    )
    table = {
        "user_id": pa.array(["a", "b"]), "age": pa.array([1.0, 3.0]), "item_id": pa.array([1, 2]),
        "kind": pa.array(["x", "y"]),
    }
    for field in (*query, *candidate):
        field.adapt(table, np.array([1, 1]))
    return [Tower(fields, MLP(widths=()), 4, True, seed=2, name=name)
            for name, fields in (("query", query), ("candidate", candidate))]


def encoded(tower, **raw):
    return tower.encode({name: tf.constant(raw[name], spec.dtype) for name, spec in tower.inputs().items()})


def read(reranker, query_tower, candidate_tower):
    """(query, candidates) of two queries and three candidates each."""
    users = encoded(query_tower, user_id=["a", "b"], age=[1.0, 2.5])
    items = encoded(candidate_tower, item_id=[1, 2, 9], kind=["x", "y", "?"])
    query = reranker.query(users, query_tower(users))
    return query, tf.repeat(reranker.candidate(items, candidate_tower(items))[tf.newaxis], 2, axis=0)


@pytest.mark.parametrize("settings", [NeuralCF(widths=(5,)), COLD(widths=(5,), dim=3)])
def test_a_new_reranker_adds_nothing_and_learns(settings):
    pair = towers()
    reranker = settings.build(*pair, seed=1)
    inputs = read(reranker, *pair)
    assert not np.asarray(reranker(*inputs)).any() and reranker(*inputs).shape == (2, 3)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(reranker(*read(reranker, *pair)) * [[1.0, -1.0, 0.5]])
    assert np.abs(tape.gradient(loss, reranker._output.kernel)).max() > 0


def test_neural_cf_reads_both_vectors_and_their_product():
    reranker = NeuralCF(widths=()).build(None, None)
    found = reranker.inputs(tf.constant([[1.0, 2.0, 0.0, 1.0]]), tf.constant([[[3.0, 1.0, 5.0, 0.0]]]))
    expected = [[[2.0, 4.0, 0.0, 2.0, 6.0, 2.0, 10.0, 0.0, 12.0, 8.0, 0.0, 0.0]]]  # times √4, each
    np.testing.assert_allclose(found, expected)


def test_cold_gates_every_field_and_crosses_both_sides():
    pair = towers()
    reranker = COLD(widths=(), dim=2).build(*pair, seed=1)
    assert reranker.names == [
        "query/id_user_id", "query/normalise_age", "candidate/id_item_id", "candidate/category_kind"
    ]
    query = tf.constant([[[1.0, 0.0], [0.0, 2.0]]])
    candidates = tf.constant([[[[1.0, 1.0], [3.0, 0.0]]]])
    reranker.field_weights(query, candidates)
    kernel, bias = reranker._gate.trainable_weights
    kernel.assign(tf.zeros_like(kernel))
    bias.assign([0.0, 0.0, 0.0, -100.0])  # gates ½, ½, ½ and 0: the last field is out
    np.testing.assert_allclose(reranker.field_weights(query, candidates), [[[0.5, 0.5, 0.5, 0.0]]], atol=1e-6)
    found = reranker.inputs(query, candidates)[0, 0].numpy()
    np.testing.assert_allclose(found[:8], [0.5, 0.0, 0.0, 1.0, 0.5, 0.5, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(found[8:], [0.25, 0.0, 0.5, 0.0], atol=1e-6)  # ⟨q₁,c₁⟩, ⟨q₁,c₂⟩, ⟨q₂,c₁⟩, ⟨q₂,c₂⟩


def test_cold_reads_the_fields_that_are_named():
    names = ("query/id_user_id", "candidate/category_kind")
    pair = towers()
    reranker = COLD(features=names, dim=3).build(*pair)
    assert tuple(reranker.names) == names and read(reranker, *pair)[0].shape == (2, 1, 3)
    with pytest.raises(ConfigError, match="Did you mean `query/id_user_id`"):
        COLD(features=("query/id_user", "candidate/category_kind")).build(*pair)
    with pytest.raises(ConfigError, match="field of the candidate"):
        COLD(features=("query/id_user_id",)).build(*pair)


def test_reranking_reads_the_catalogue_by_rows():
    reranker = NeuralCF(widths=()).build(None, None)
    items = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    users = tf.constant([[1.0, 0.0, 0.0]])
    at_work = Reranking(reranker, items)
    at_work.added(None, users, tf.constant([[0]]))
    reranker._output.kernel.assign(np.eye(9, 1, -6, dtype=np.float32))  # reads u₁ · v₁, times √3 twice
    found = at_work.added(None, users, tf.constant([[4, -1, 2]]))
    np.testing.assert_allclose(found[0].numpy()[[0, 2]], 3 * items[[4, 2], 0], rtol=1e-5)


class Still(tf.keras.layers.Layer):
    """A reranker that adds what its candidates hold."""

    top = 3

    def query(self, encoded, vectors, training=False):
        return vectors

    def candidate(self, encoded, vectors, training=False):
        return encoded

    def call(self, query, candidates, training=False):
        return candidates


def batch_of(rows, known):
    rows = tf.constant(rows, tf.int32)
    return Positives(rows, tf.ones(tf.shape(rows)), tf.constant(known, tf.int32), tf.zeros([len(rows), 0], tf.int32))


def test_negatives_are_drawn_as_the_retrieval_would_bring_them():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(4, 2)).astype(np.float32)
    counts = np.array([4.0, 2.0, 1.0, 1.0])
    rows = np.repeat(np.arange(4), counts.astype(int) * 5)  # a batch that holds each item as often as its share
    query = np.tile(vectors[:1], (len(rows), 1))
    loss = RerankerLoss(NeuralCF(negatives=2000), Still(), np.log(counts / counts.sum()), seed=3)
    places = loss.draw(query, vectors[rows], batch_of(rows, [[3]] * len(rows)), 0.5).numpy()
    drawn = np.bincount(rows[places[0]], minlength=4) / 2000  # of the first row, whose own item is 0
    softmax = np.exp(vectors @ vectors[0] / 0.5)
    expected = softmax * [0, 1, 1, 0] / softmax[[1, 2]].sum()  # not its own, not what its user is known to like
    np.testing.assert_allclose(drawn, expected, atol=0.05)
    assert drawn[0] == drawn[3] == 0.0


def test_loss_by_hand():
    still = Still()
    loss = RerankerLoss(NeuralCF(negatives=1, weight=2.0), still, np.zeros(4), seed=0)
    model = SimpleNamespace(objective=SimpleNamespace(temperature=build_temperature(FixedTemperature(1.0))))
    vectors = tf.ones([2, 1])
    batch = {"query": None, "candidate": tf.constant([1.0, 3.0])}
    found = loss(model, batch, vectors, vectors, batch_of([0, 1], [[-1], [-1]]), training=True)
    # of two rows each has the other's item for its negative
    expected = 2.0 * (np.log1p(np.exp(2.0)) + np.log1p(np.exp(-2.0))) / 2
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_loss_moves_the_reranker_and_not_the_vectors():
    reranker = NeuralCF(widths=(4,)).build(None, None)
    loss = RerankerLoss(NeuralCF(negatives=1), reranker, np.zeros(2), seed=0)
    model = SimpleNamespace(objective=SimpleNamespace(temperature=build_temperature(FixedTemperature(1.0))))
    batch, vectors = {"query": None, "candidate": None}, tf.Variable([[1.0, 0.0], [0.0, 1.0]])
    loss(model, batch, vectors, vectors, batch_of([0, 1], [[-1], [-1]]))
    reranker._output.kernel.assign(tf.ones_like(reranker._output.kernel))
    with tf.GradientTape() as tape:
        found = loss(model, batch, vectors, vectors, batch_of([0, 1], [[-1], [-1]]))
    of_vectors, of_output = tape.gradient(found, [vectors, reranker._output.kernel])
    assert of_vectors is None and np.abs(of_output).max() > 0


@pytest.mark.parametrize("wrong", [{"top": 0}, {"negatives": 0}, {"weight": 0.0}, {"widths": (0,)}])
def test_settings_out_of_range_are_refused(wrong):
    for settings in (NeuralCF, COLD):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            settings(**wrong)


def test_a_query_for_which_nothing_was_retrieved_has_no_part_in_the_field_weights():
    """The weight of a pair is the number of the query's row times that of the item."""
    stage = SimpleNamespace(
        _examples=SimpleNamespace(queries=lambda rows: tf.cast(rows, tf.float32)), _towers=[tf.identity],
        reranking=lambda: SimpleNamespace(items=tf.constant([7.0, 1.0, 2.0])),
        _reranker=SimpleNamespace(
            top=2, names=["field"], query=lambda encoded, vectors: vectors,
            field_weights=lambda query, items: (query[:, tf.newaxis] * items)[..., tf.newaxis],
        ),
    )
    top = np.array([[1, 2, 0], [-1, -1, -1], [2, 1, 0]])
    assert SecondStage.field_weights(stage, np.array([10, 20, 30]), top) == {"field": 30.0}  # (10 + 20 + 60 + 30) / 4
