"""What must hold for every field and every encoder, and what their values are."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.features import Feature, Preprocessed, Sequence
from tfrs_twotower.towers import Encoder, Identity

import tensorflow as tf  # isort: skip

from . import entries

GOLDENS = json.loads((Path(__file__).parent / "goldens.json").read_text())

every = pytest.mark.parametrize("name", entries.names())


def run(layer, raw):
    return layer(layer.encode(raw)).numpy()


def test_nothing_is_without_a_golden():
    assert set(GOLDENS) == set(entries.names())
    # A Sequence is no vector; what Preprocessed and Identity give is one's own layer's.
    assert {type(f) for f in entries.FIELDS.values()} == with_layers(Feature) - {Sequence, Preprocessed}
    assert {type(e) for e in entries.ENCODERS.values()} == with_layers(Encoder) - {Identity}


def with_layers(base):
    """The package's classes below `base` that stand for a layer."""
    found = set()
    for cls in base.__subclasses__():
        own = cls.layer_class and cls.__module__.startswith("tfrs_twotower.")
        found |= with_layers(cls) | ({cls} if own else set())
    return found


@every
def test_golden(name):
    found = entries.golden(name)
    assert found["shape"] == GOLDENS[name]["shape"]
    assert found["parameters"] == GOLDENS[name]["parameters"]
    assert found["checksum"] == pytest.approx(GOLDENS[name]["checksum"], abs=1e-4)


def test_eager_and_saved_model_agree(tmp_path):
    """All in one function of one SavedModel, because each has a fixed price. What is saved is the traced graph.

    No layer of ours needs AutoGraph, which would take most of the time.
    """
    module = tf.Module()
    module.layers, raw, eager = ({name: entries.made(name)[part] for name in entries.names()} for part in range(3))

    @tf.function(input_signature=[{name: layer.inputs() for name, layer in module.layers.items()}], autograph=False)
    def run_all(raw):
        return {name: layer(layer.encode(raw[name])) for name, layer in module.layers.items()}

    module.run = run_all
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    found = loaded.run(raw)
    for name in entries.names():
        assert np.isfinite(eager[name]).all(), name
        np.testing.assert_allclose(found[name], eager[name], atol=1e-6, err_msg=name)


@every
def test_state_and_weights_round_trip(name, tmp_path):
    layer, items = entries.build(name)
    raw = entries.raw(layer)
    run(layer, raw)
    for i, weight in enumerate(layer.trainable_weights):  # not the values that a new layer starts with
        weight.assign(weight + 0.01 * (i + 1))
    expected = run(layer, raw)
    path = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "weights"))

    fresh, fresh_items = entries.build(name, adapts=0)
    fresh_items.load_state(items.state())
    fresh.load_state(_through_file(layer.state(), tmp_path))
    assert fresh.inputs() == layer.inputs()
    tf.nest.map_structure(np.testing.assert_array_equal, fresh.encode(raw), layer.encode(raw))
    run(fresh, raw)
    tf.train.Checkpoint(layer=fresh).read(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(run(fresh, raw), expected)


def _through_file(state, folder):
    """`state` as it comes back from a file without pickled objects."""
    if any(isinstance(value, dict) for value in state.values()):
        return {field: _through_file(part, folder) for field, part in state.items()}
    np.savez(folder / "state.npz", **state)
    with np.load(folder / "state.npz", allow_pickle=False) as loaded:
        return dict(loaded)


@every
def test_adapting_twice_equals_once(name):
    once, raw, expected = entries.made(name)
    twice, _ = entries.build(name, adapts=2)
    tf.nest.map_structure(np.testing.assert_array_equal, once.state(), twice.state())
    np.testing.assert_array_equal(run(twice, raw), expected)


@every
def test_rows_without_training_events_change_nothing(name):
    layer, _, _ = entries.made(name)
    other, items = entries.build(name, adapts=0)
    for field in (items, *getattr(other, "fields", [other])):
        field.adapt(*_with_untrained_row())
    tf.nest.map_structure(np.testing.assert_array_equal, layer.state(), other.state())


def _with_untrained_row():
    # Whatever a row holds that no training event met, it leaves no trace.
    row = {"user_id": "zoe", "item_id": 77, "brand": "new", "size": 9, "price": 1e6, "genres": ["new"],
           "timestamp": 2_000_000_000, "title": "entirely new", "image": [5.0, 5.0],
           "taken_by": [7], "zone": "Asia/Tokyo", "latitude": 1.0, "longitude": 2.0, "item_count": [9.0, 99.0],
           "item_rate_buy_per_shown": [9.0, 99.0], "item_recency": [9.0], "searches": "entirely new",
           "history_buy_event": None, "history_buy_dwell": None}  # of training events alone: see `PastField.adapt`
    table = {k: pa.chunked_array([[row[k]], v.to_pylist()], v.type) for k, v in entries.TABLE.items()}
    return table, np.concatenate([[0], entries.COUNTS])


@every
def test_embedding_gradients_touch_only_the_rows_of_the_batch(name):
    layer, _ = entries.build(name)
    encoded = layer.encode(entries.raw(layer))
    layer(encoded)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(encoded, training=True) ** 2)
    weights = layer.trainable_weights
    for weight, gradient in zip(weights, tape.gradient(loss, weights)):
        if gradient is None:
            assert name == "user_statistic" and "embeddings" in weight.name  # it counts the items, whatever they are
            continue
        if "embeddings" in weight.name or "corrections" in weight.name:
            assert isinstance(gradient, tf.IndexedSlices), weight.name
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()
