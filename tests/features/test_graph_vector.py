"""Vectors from the graph: propagation by hand, and that only training events draw it."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import toy

from tfrs_twotower.data import Frames, Split, Splitter, Temporal, ingest
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import GraphVector, Id, Schema, build_fields
from tfrs_twotower.features.graph import item_vectors
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.training.adapting import taken_by

import tensorflow as tf  # isort: skip

# User 0 took items 0 and 1, user 1 took item 1: Ã = [[1/√2, 1/2], [0, 1/√2]].
USERS, ITEMS = np.array([0, 0, 1]), np.array([0, 1, 1])
NORMALISED = np.array([[2**-0.5, 0.5], [0.0, 2**-0.5]])


def test_propagation_by_hand():
    """Singular values σ of Ã are 1 and 1/2; component j of the mean of layers 0 … 2 is v_j · (1 + σ + σ²) / 3."""
    _, values, right = np.linalg.svd(NORMALISED)
    assert values.tolist() == pytest.approx([1.0, 0.5])
    expected = right.T * (1 + values + values**2) / 3
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = item_vectors(USERS, ITEMS, factors=2, layers=2)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-6)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-6)


def test_repeats_count_once_and_missing_factors_are_zeros():
    found = item_vectors(np.append(USERS, [0, 0]), np.append(ITEMS, [1, 1]), factors=4, layers=2)
    np.testing.assert_allclose(found[:, :2], item_vectors(USERS, ITEMS, 2, 2), atol=1e-6)
    assert (found[:, 2:] == 0).all()


def test_more_layers_bring_items_of_the_same_people_nearer():
    """Two groups of people with a bridge between them: within a group items are near, across far."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(40), 6)
    items = (users % 2) * 10 + rng.integers(0, 10, 240)
    items[0] = 15  # the bridge
    found = {layers: item_vectors(users, items, 8, layers) for layers in (0, 4)}
    near = {k: (v @ v.T)[:10, :10].mean() for k, v in found.items()}
    far = {k: (v @ v.T)[:10, 10:].mean() for k, v in found.items()}
    assert near[4] > near[0] and near[4] > far[4] + 0.4


def test_large_and_small_graphs_agree():
    """The iterative search and the dense decomposition give the same vectors."""
    rng = np.random.default_rng(1)
    users, items = rng.integers(0, 30, 400), rng.integers(0, 12, 400)
    users[:30], items[:12] = np.arange(30), np.arange(12)
    few, all_ = item_vectors(users, items, 4, 2), item_vectors(users, items, 12, 2)[:, :4]
    np.testing.assert_allclose(few, all_ / np.linalg.norm(all_, axis=1, keepdims=True), atol=1e-5)


def field(items, lists, counts):
    schema = Schema(query=(Id("user_id"),), candidate=(GraphVector(factors=2, layers=2, dim=3),))
    _, (made,) = build_fields(schema)
    made.adapt({"item_id": pa.array(items), "taken_by": pa.array(lists, pa.list_(pa.int32()))}, np.array(counts))
    return made


def test_an_item_without_training_events_gets_the_zero_vector():
    made = field(["a", "b", "new"], [[5], [5, 9], []], [1, 2, 0])
    assert made.inputs() == {"item_id": tf.TensorSpec([None], tf.string)}
    found = made.encode({"item_id": tf.constant(["b", "new", "", "?", "a"])})["vector"].numpy()
    expected = item_vectors(USERS, ITEMS, 2, 2)
    np.testing.assert_allclose(found, [expected[1], [0, 0], [0, 0], [0, 0], expected[0]], atol=1e-6)
    assert (made({"vector": tf.constant(found)}).numpy()[1:4] == 0).all()


def adapted(keys, graph):
    """A field of the graph's items, in the order of `keys`, with as many events each as it has takers."""
    lists = [graph[key] for key in keys]
    made = field(keys, lists, [len(takers) for takers in lists])
    return made, {"item_id": pa.array(keys), "taken_by": pa.array(lists, pa.list_(pa.int32()))}


def vectors(made, keys):
    return made.encode({"item_id": tf.constant(keys)})["vector"].numpy()


def planted_graph(items, seed):
    """{item: its takers}: items of even numbers are taken by other people than those of odd ones."""
    rng = np.random.default_rng(seed)
    return {f"i{i}": sorted({2 * int(u) + i % 2 for u in rng.integers(0, 20, 2 + i % 7)}) for i in range(items)}


def test_a_graph_that_has_not_changed_keeps_its_vectors():
    """Whatever order its items come in, and whoever has become the more popular one in the vocabulary's order."""
    graph = planted_graph(12, 0)
    made, _ = adapted(sorted(graph), graph)
    before = vectors(made, sorted(graph))
    _, columns = adapted(sorted(graph, reverse=True), graph)
    made.grow(columns, np.arange(1, 13))
    np.testing.assert_allclose(vectors(made, sorted(graph)), before, atol=1e-5)


def test_a_grown_graph_keeps_its_basis_and_places_new_items_by_their_neighbours():
    graph = planted_graph(12, 0)
    made, _ = adapted(sorted(graph), graph)
    known = sorted(graph)
    before, keys = vectors(made, known), made.vocabulary.get_vocabulary(False)
    new = {"twin": graph["i6"], "i0": [*graph["i0"], 100]}
    grown = {key: takers for key, takers in {**graph, **new}.items() if key != "i1"}  # the grown graph lacks i1
    _, columns = adapted(sorted(grown), grown)
    made.grow(columns, np.arange(1, 13))
    np.testing.assert_array_equal(made.vocabulary.get_vocabulary(False)[:12], keys)
    np.testing.assert_array_equal(vectors(made, ["i1"]), before[known.index("i1")][np.newaxis])
    assert (before * vectors(made, known)).sum(axis=1).min() > 0.9  # cosines; without the rotation some are below 0
    np.testing.assert_allclose(vectors(made, ["twin"]), vectors(made, ["i6"]), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(made.state()["vectors"], axis=1), 1, atol=1e-5)


@dataclasses.dataclass(frozen=True)
class _CutAt(Splitter):
    """Training rows end at a given moment, whatever comes after."""

    moment: int

    def split(self, log, seed=0):
        found = Temporal().split(log, seed)
        return Split(np.flatnonzero(log.timestamp < self.moment), found.validation, found.test)


def _states(frame, cut):
    log, _ = ingest(Frames(frame))
    schema = Schema(query=(Id("user_id"),), candidate=(Id("item_id"), GraphVector(factors=8)))
    a = assemble(dataclasses.replace(toy.recipe(), schema=schema, split=_CutAt(cut)), log)
    return a.model.candidate_tower.state()["graph_item_id"]


def test_only_training_events_draw_the_graph():
    frames, _ = toy.planted()
    frame = frames["interactions"].sort_values("timestamp", kind="stable", ignore_index=True)
    cut = int(frame["timestamp"].quantile(0.8))
    later = frame["timestamp"] >= cut
    shuffled, changed = frame.copy(), frame.copy()
    shuffled.loc[later, "item_id"] = np.random.default_rng(1).permutation(frame.loc[later, "item_id"])
    changed.loc[0, "item_id"] = "i99" if frame.loc[0, "item_id"] != "i99" else "i98"
    original = _states(frame, cut)
    tf.nest.map_structure(np.testing.assert_array_equal, _states(shuffled, cut), original)
    assert not np.array_equal(_states(changed, cut)["vectors"], original["vectors"])


def test_who_took_an_item():
    frames, _ = toy.planted()
    log, _ = ingest(Frames(**frames))
    rows = np.arange(0, len(log), 3)
    lists = taken_by(log, rows).to_pylist()
    for item in (0, 17):
        assert sorted(lists[item]) == sorted(log.user[rows][log.item[rows] == item].tolist())


def test_a_query_has_no_such_column():
    schema = Schema(query=(GraphVector("user_id"),), candidate=(Id("item_id"),))
    with pytest.raises(ConfigError, match="`graph_user_id` of the query reads the column `taken_by`"):
        schema.validate(["user_id"], ["item_id"])
