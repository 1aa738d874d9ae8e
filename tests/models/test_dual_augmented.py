"""The auxiliary losses of dual augmented towers, by hand."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import Augmented, Category, Id, MultiValue, Schema, build_fields
from tfrs_twotower.models import CategoryAlignment, Mimic, Positives
from tfrs_twotower.models.category_alignment import category_alignment
from tfrs_twotower.towers import MLP, Tower

import tensorflow as tf  # isort: skip

ITEMS = {
    "item_id": pa.array(["a", "b"]), "kind": pa.array(["x", "y"]), "tags": pa.array([["p", "q"], []]),
}
USERS = {"user_id": pa.array(["anna", "ben"])}


def towers(dim=2):
    """A model's two towers, each with an id and an augmented vector, and a batch of one positive: anna took b."""
    schema = Schema(
        query=(Id("user_id", dim=2), Augmented("user_id", dim=dim, dropout=0.0)),
        candidate=(
            Id("item_id", dim=2), Augmented("item_id", dim=dim, dropout=0.0), Category("kind"), MultiValue("tags"),
        ),
    )
    query, candidate = build_fields(schema)
    for field in query:
        field.adapt(USERS, np.array([1, 1]))
    for field in candidate:
        field.adapt(ITEMS, np.array([1, 1]))
    model = SimpleNamespace(
        query_tower=Tower(query, MLP(widths=()), 2, True, name="query"),
        candidate_tower=Tower(candidate, MLP(widths=()), 2, True, name="candidate"),
    )
    batch = {
        "query": model.query_tower.encode({"user_id": tf.constant(["anna"])}),
        "candidate": model.candidate_tower.encode({
            "item_id": tf.constant(["b"]), "kind": tf.constant(["y"]), "tags": tf.constant([["p", "q"]]),
        }),
    }
    for side in ("query", "candidate"):
        getattr(model, f"{side}_tower")(batch[side])
    return model, batch


def positives(weight=(1.0,)):
    none = tf.zeros([len(weight), 0], tf.int32)
    return Positives(tf.zeros([len(weight)], tf.int32), tf.constant(weight), none, none)


def test_mimic_by_hand_and_what_it_moves():
    model, batch = towers()
    user, item = model.query_tower.fields[1], model.candidate_tower.fields[1]
    user.table.assign([[9.0, 9.0], [1.0, 2.0], [9.0, 9.0]])  # row 1 is anna
    item.table.assign([[9.0, 9.0], [9.0, 9.0], [0.0, -1.0]])  # row 2 is b
    u, v = tf.Variable([[1.0, 0.0]]), tf.Variable([[0.0, 1.0]])
    with tf.GradientTape() as tape:
        loss = Mimic(query=0.5, candidate=2.0).build()(model, batch, u, v, positives(), training=True)
    # ½·‖(0, 1) − (1, 2)‖² + 2·‖(1, 0) − (0, −1)‖²
    assert float(loss) == pytest.approx(0.5 * 2 + 2 * 2)
    at_u, at_v, at_user, at_item = tape.gradient(loss, [u, v, user.table, item.table])
    assert at_u is None and at_v is None
    np.testing.assert_allclose(tf.convert_to_tensor(at_user), [[0, 0], [1, 1], [0, 0]])  # ½·2·(a_u − v)
    np.testing.assert_allclose(tf.convert_to_tensor(at_item), [[0, 0], [0, 0], [-4, -4]])  # 2·2·(a_v − u)


def test_the_augmented_vector_is_part_of_the_towers_input():
    model, batch = towers()
    before = model.query_tower(batch["query"]).numpy()
    table = model.query_tower.fields[1].table
    table.assign(table + [[0.0, 0.0], [0.5, -0.5], [0.0, 0.0]])
    assert not np.allclose(before, model.query_tower(batch["query"]))


def test_mimic_needs_augmented_vectors_of_the_right_length():
    model, batch = towers(dim=3)
    with pytest.raises(ConfigError, match="`Augmented.dim` must be as long as the model's vectors, 2"):
        Mimic().build()(model, batch, tf.ones([1, 2]), tf.ones([1, 2]), positives())
    model.query_tower.fields.pop()
    with pytest.raises(ConfigError, match="Augmented.*features of the query"):
        Mimic().build()(model, batch, tf.ones([1, 2]), tf.ones([1, 2]), positives())


VECTORS = np.array([[1, 0], [-1, 0], [3, 3], [3, 1], [0, 5], [2, 2], [7, 7]], np.float32)
CATEGORY = [4, 4, 9, 9, 4, 0, -1]  # 4 is the major one; 0 has one row, and −1 is none


def test_category_alignment_against_numpy():
    major, other = np.cov(VECTORS[[0, 1, 4]].T), np.cov(VECTORS[[2, 3]].T)
    expected = ((major - other) ** 2).sum()
    assert float(category_alignment(VECTORS, tf.constant(CATEGORY))) == pytest.approx(expected, rel=1e-5)
    assert float(category_alignment(VECTORS[:2], tf.constant([-1, -1]))) == 0


def test_category_alignment_moves_the_items_alone():
    vectors = tf.Variable(VECTORS)
    with tf.GradientTape() as tape:
        loss = category_alignment(vectors, tf.constant(CATEGORY))
    gradient = tape.gradient(loss, vectors).numpy()
    assert (np.abs(gradient[:5]).sum(axis=1) > 0).all()
    np.testing.assert_array_equal(gradient[5:], 0)


@pytest.mark.parametrize("column, same", [("kind", False), ("tags", True)])
def test_the_category_is_read_from_the_candidates_features(column, same):
    model, _ = towers()
    raw = {"item_id": tf.constant(["a"] * 4), "kind": tf.constant(["x", "x", "y", "y"]),
           "tags": tf.constant([["p", "q"]] * 4)}
    batch = {"candidate": model.candidate_tower.encode(raw)}
    vectors = tf.constant(VECTORS[:4])
    loss = CategoryAlignment(column, weight=2.0).build()(model, batch, vectors, vectors, positives([1.0] * 4))
    apart = 2 * ((np.cov(VECTORS[:2].T) - np.cov(VECTORS[2:4].T)) ** 2).sum()
    assert float(loss) == pytest.approx(0.0 if same else apart, rel=1e-5)


def test_an_unknown_category_column_is_named():
    model, batch = towers()
    with pytest.raises(ConfigError, match="Did you mean `kind`"):
        CategoryAlignment("kinds").build()(model, batch, None, tf.ones([1, 2]), positives())
