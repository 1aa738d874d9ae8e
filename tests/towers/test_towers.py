"""Towers and their parts, by values."""

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.configuration import config, from_dict, to_dict
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import Category, Id, Number, Schema, build_fields
from tfrs_twotower.towers import MLP, Dropout, Tower, build_encoder

import tensorflow as tf  # isort: skip

TABLE = {"item_id": pa.array(["a", "b"]), "price": pa.array([1.0, 3.0]), "shelf": pa.array([1, 2])}


def tower(encoder=MLP(widths=()), normalise=True, features=(Number("price", dim=2),), dim=3):
    _, fields = build_fields(Schema(query=(Id("user_id"),), candidate=features), seed=5)
    for field in fields:
        field.adapt(TABLE, np.array([1, 1]))
    return Tower(fields, encoder, dim, normalise, seed=5)


def encoded(made, **raw):
    return made.encode({k: tf.constant(raw[k], spec.dtype) for k, spec in made.inputs().items()})


def test_embed_encode_project_normalise():
    made = tower(normalise=False)
    unit = tower(normalise=True)
    inputs = encoded(made, price=[3.0, 2.0, 5.0])  # mean 2, deviation 1: 1, 0, 3
    vectors = made(inputs).numpy()
    embedding, projection = (w.numpy() for w in made.trainable_weights)
    np.testing.assert_allclose(vectors, np.outer([1, 0, 3], embedding[0] @ projection), atol=1e-6)
    direction = vectors[0] / np.linalg.norm(vectors[0])
    np.testing.assert_allclose(unit(inputs), [direction, [0, 0, 0], direction], atol=1e-6)


def test_a_zero_input_has_finite_values_and_gradients():
    made = tower(MLP(widths=(4,)))
    inputs = encoded(made, price=[2.0])
    with tf.GradientTape() as tape:
        vectors = made(inputs)
        loss = tf.reduce_sum(vectors * [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(vectors, np.zeros((1, 3)))
    for gradient in tape.gradient(loss, made.trainable_weights):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() < 1e3


def test_mlp_by_hand():
    encoder = build_encoder(MLP(widths=(2,), activation="relu"))
    first, second = tf.constant([[1.0], [-1.0]]), tf.constant([[2.0], [0.5]])
    encoder([first, second])
    encoder.set_weights([np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([0.5, 0.0])])
    # [1, 2] → [3.5, 1]; [−1, 0.5] → [0, 1.5]
    np.testing.assert_allclose(encoder([first, second]), [[3.5, 1.0], [0.0, 1.5]])


def test_mlp_normalisation():
    values = tf.random.stateless_normal([64, 8], [1, 2]) * 5 + 3
    layer = build_encoder(MLP(widths=(6,), activation="linear", normalisation="layer"))([values]).numpy()
    np.testing.assert_allclose(layer.mean(axis=1), 0, atol=1e-5)
    batch = build_encoder(MLP(widths=(6,), activation="linear", normalisation="batch"))
    np.testing.assert_allclose(batch([values], training=True).numpy().mean(axis=0), 0, atol=1e-5)
    assert np.abs(batch([values], training=False).numpy().mean(axis=0)).max() > 0.1


def test_dropout_drops_a_share_and_keeps_the_mean():
    dropout = Dropout(0.25, seed=1)
    values = tf.ones([100, 100])
    np.testing.assert_array_equal(dropout(values), values)
    found = dropout(values, training=True).numpy()
    assert set(np.unique(found.round(6))) == {0.0, np.float32(1 / 0.75).round(6)}
    assert (found == 0).mean() == pytest.approx(0.25, abs=0.02)  # four standard errors


def test_training_is_replayed_from_a_checkpoint(tmp_path):
    """ID dropout and dropout together: what a resumed run must draw again."""
    made = tower(MLP(widths=(16,), dropout=0.5), features=(Id("item_id", dropout=0.5), Number("price")))
    inputs = encoded(made, item_id=["a", "b"] * 8, price=[1.0, 3.0] * 8)
    run = tf.function(lambda: made(inputs, training=True))
    run()
    path = tf.train.Checkpoint(tower=made).write(str(tmp_path / "c"))
    first, second = run().numpy(), run().numpy()
    assert (first != second).any()
    tf.train.Checkpoint(tower=made).read(path).assert_consumed()
    np.testing.assert_array_equal(run(), first)
    np.testing.assert_array_equal(run(), second)
    other = tower(MLP(widths=(16,), dropout=0.5), features=(Id("item_id", dropout=0.5), Number("price")))
    other(inputs)
    tf.train.Checkpoint(tower=other).read(path).assert_consumed()
    np.testing.assert_array_equal(other(inputs, training=True), first)


def test_one_column_read_in_two_ways_is_an_error():
    made = tower(features=(Number("shelf"), Category("shelf")))
    with pytest.raises(ConfigError, match="`shelf` is read as float32.*normalise_shelf.*int64.*by `category"):
        made.inputs()


def test_the_encoder_is_swappable_and_may_give_several_vectors():
    class Twice(tf.keras.layers.Layer):
        def call(self, embeddings, training=False):
            return tf.stack([tf.concat(embeddings, -1), -tf.concat(embeddings, -1)], axis=1)

    made = tower()
    made.encoder = Twice()
    found = made(encoded(made, price=[3.0])).numpy()
    assert found.shape == (1, 2, 3)
    np.testing.assert_allclose(found[0, 0], -found[0, 1])
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, rtol=1e-5)


@config
class Unheard:
    pass


def test_unknown_encoder():
    with pytest.raises(ConfigError, match="`Unheard` configures no encoder.*MLP"):
        build_encoder(Unheard())


@pytest.mark.parametrize("settings, message", [
    ({"widths": (0,)}, "MLP.widths"),
    ({"activation": "rellu"}, "MLP.activation"),
    ({"normalisation": "batches"}, "Did you mean `batch`"),
    ({"dropout": 1.0}, "MLP.dropout"),
])
def test_mlp_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        MLP(**settings)


def test_mlp_survives_json():
    assert from_dict(to_dict(MLP(widths=(4, 2)))) == MLP(widths=(4, 2))
