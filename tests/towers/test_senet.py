"""SENet: the weights of the fields, by hand, and where they are shown."""

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.evaluation import field_weights
from tfrs_twotower.features import Category, Id, Number, Schema, build_fields
from tfrs_twotower.towers import MLP, FMQuery, SENet, Tower, build_encoder

import tensorflow as tf  # isort: skip


def test_by_hand():
    encoder = build_encoder(SENet(reduction=2, encoder=MLP(widths=())))
    first, second = tf.constant([[1.0, 3.0]]), tf.constant([[-1.0]])  # means 2 and −1
    encoder([first, second])
    # Inner layer: relu(2·1 + (−1)·0.5 + 0.5) = 2; outer: σ(2·0), σ(2·1 + log(3) − 2).
    encoder.set_weights([np.array([[1.0], [0.5]]), np.array([0.5]), np.array([[0.0, 1.0]]),
                         np.array([0.0, np.log(3.0) - 2.0])])
    np.testing.assert_allclose(encoder.field_weights([first, second]), [[0.5, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(encoder([first, second]), [[0.5, 1.5, -0.75]], rtol=1e-6)


def test_the_weight_of_a_field_depends_on_the_example():
    encoder = build_encoder(SENet(reduction=1, encoder=MLP(widths=())), seed=3)
    embeddings = [tf.constant([[1.0, 2.0], [-3.0, 4.0]]), tf.constant([[2.0], [5.0]])]
    encoder(embeddings)
    weights = encoder.field_weights(embeddings).numpy()
    assert weights.shape == (2, 2) and (weights[0] != weights[1]).all()


def tower(encoder):
    table = {"price": pa.array([1.0, 3.0]), "shelf": pa.array([1, 2])}
    schema = Schema(query=(Id("user_id"),), candidate=(Number("price", dim=2), Category("shelf", dim=3)))
    _, fields = build_fields(schema, seed=5)
    for field in fields:
        field.adapt(table, np.array([1, 1]))
    made = Tower(fields, encoder, 3, True, seed=5)
    inputs = made.encode({"price": tf.constant([1.0, 5.0]), "shelf": tf.constant([2, 9], tf.int64)})
    made(inputs)
    return made, inputs


def test_a_tower_names_the_fields():
    made, inputs = tower(SENet())
    weights = made.field_weights(inputs)
    assert list(weights) == ["normalise_price", "category_shelf"]
    expected = made.encoder.field_weights([field(inputs[field.name]) for field in made.fields])
    np.testing.assert_allclose(np.stack(list(weights.values()), axis=1), expected)


def test_their_mean_is_what_a_run_reports():
    made, inputs = tower(SENet())
    found = field_weights(made, lambda rows: inputs, [0, 1])
    expected = {name: weights.numpy().mean() for name, weights in made.field_weights(inputs).items()}
    assert found == pytest.approx(expected)
    assert field_weights(tower(MLP())[0], lambda rows: inputs, [0, 1]) == {}


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="SENet.reduction"):
        SENet(reduction=0)
    with pytest.raises(ConfigError, match="`FMQuery` makes the vector of a tower"):
        build_encoder(SENet(encoder=FMQuery()))
