"""Distillation, self-supervision and alignment on planted data: what they teach, and whom they leave alone."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import toy

from tfrs_twotower.data import Frames, ingest
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import Category, Id, Number, Schema, Text, Vector
from tfrs_twotower.models import (
    ContentAlignment,
    Distillation,
    ScheduledTemperature,
    SelfSupervision,
    build_temperature,
)
from tfrs_twotower.models.alignment import aligned_fields
from tfrs_twotower.models.distillation import DistillationLoss
from tfrs_twotower.models.self_supervision import correlated_masks, mutual_information
from tfrs_twotower.pipeline.assembling import assemble

SCHEMA = Schema(
    query=(Id("user_id", dim=8), Category("segment", dim=4)),
    candidate=(Id("item_id", dim=8), Category("category", dim=4), Number("price", dim=4), Vector("image", dim=8)),
)


@pytest.fixture(scope="module")
def log():
    """Planted data whose items have an image: their cluster's direction and some noise; item 0 has none."""
    frames, truth = toy.planted()
    rng = np.random.default_rng(0)
    images = np.eye(toy.CLUSTERS)[truth.item_cluster] + rng.normal(0, 0.3, (toy.ITEMS, toy.CLUSTERS))
    frames["items"]["image"] = [None, *images[1:].tolist()]
    return ingest(Frames(**frames))[0]


def assembly(log, auxiliary, schema=SCHEMA):
    recipe = toy.recipe()
    model = dataclasses.replace(recipe.model, auxiliary=(auxiliary,))
    return assemble(dataclasses.replace(recipe, schema=schema, model=model), log)


def auxiliary_loss(model, batch, training=False):
    return model.auxiliary[0](model, batch, *model.pairs(batch), training=training)


def descend(a, steps, learning_rate=0.01):
    """The auxiliary loss after each of some steps on it alone."""
    batch, optimizer = next(iter(a.batches.dataset(0, 1))), tf.keras.optimizers.Adam(learning_rate)
    a.model.create_weights(batch)
    variables = a.model.trainable_variables

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = auxiliary_loss(a.model, batch)
        found = zip(tape.gradient(loss, variables), variables)
        optimizer.apply_gradients([(g, v) for g, v in found if g is not None])
        return loss

    optimizer.build(variables)
    return [float(step()) for _ in range(steps)]


def gradient_norms(model, batch, layer):
    """(gradient's norm of the towers, of the layer's own weights) of one auxiliary loss."""
    towers, own = [*model.query_tower.trainable_variables, *model.candidate_tower.trainable_variables], (
        layer.trainable_variables)
    with tf.GradientTape() as tape:
        loss = layer(model, batch, *model.pairs(batch), training=False)
    found = tape.gradient(loss, [*towers, *own])
    norms = [0.0 if g is None else float(tf.norm(tf.convert_to_tensor(g))) for g in found]
    return max(norms[: len(towers)]), min(norms[len(towers):], default=0.0)


def test_the_teachers_own_loss_leaves_the_towers_alone_and_the_soft_labels_leave_the_teacher_alone(log):
    a = assembly(log, Distillation(candidates=16, widths=(8, 4), weight=1.0))
    batch = next(iter(a.batches.dataset(0, 1)))
    a.model.create_weights(batch)
    towers, teacher = gradient_norms(a.model, batch, a.model.auxiliary[0])
    assert towers > 0 and teacher > 0
    own = DistillationLoss(Distillation(candidates=16, widths=(8, 4), weight=0.0))
    own.teacher = a.model.auxiliary[0].teacher
    towers, teacher = gradient_norms(a.model, batch, own)
    assert towers == 0 and teacher > 0


def test_the_teacher_scores_pairs_and_the_students_learn_its_order(log):
    """A teacher that is fixed to the price of the candidate: its students come to rank by price."""

    class ByPrice(tf.keras.layers.Layer):
        def call(self, query, positive, shared, products):
            # The price is the fields' value beside the embeddings: take it from the raw column instead.
            rows = tf.shape(query)[0]
            return tf.concat([tf.zeros([rows, 1]), tf.repeat(self.wanted[tf.newaxis], rows, axis=0)], axis=1)

    a = assembly(log, Distillation(candidates=toy.ITEMS, weight=1.0))
    layer = a.model.auxiliary[0]
    layer.teacher = ByPrice()
    preferred = np.linspace(2.0, -2.0, toy.ITEMS).astype(np.float32)
    layer.teacher.wanted = tf.constant(preferred)
    layer._draws = _InOrder()
    descend(a, 25)
    scores = a.query_vectors(a.split.train[:50]) @ a.candidate_vectors().T
    assert np.corrcoef(scores.mean(axis=0), preferred)[0, 1] > 0.9


class _InOrder:
    """All of the catalogue, in its order, in place of a draw."""

    def uniform(self, shape, low, high, dtype):
        return tf.range(shape[0])


def test_mutual_information_by_hand():
    a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert mutual_information(a, a) == pytest.approx(np.log(2))
    assert mutual_information(a, b) == pytest.approx(0.0)
    # p(0, 0) = 1/2, p(1, 0) = p(1, 1) = 1/4: 1/2 log(1 / 0.75) + 1/4 log(0.25 / 0.375) + 1/4 log 2
    expected = 0.5 * np.log(1 / 0.75) + 0.25 * np.log(0.25 / 0.375) + 0.25 * np.log(2)
    assert mutual_information(a, np.array([0, 0, 0, 1])) == pytest.approx(expected)


class _Named:
    def __init__(self, name):
        self.name = name


def test_the_most_correlated_features_are_masked_together():
    rng = np.random.default_rng(0)
    brand, colour = rng.integers(0, 4, 1000), rng.integers(0, 4, 1000)
    encoded = {
        "brand": {"index": brand}, "maker": {"index": brand // 2},
        "colour": {"index": colour}, "shades": {"index": np.stack([colour, colour % 2], axis=1)},
    }
    masks = correlated_masks([_Named(name) for name in encoded], encoded).numpy()
    assert masks.astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    pair = {name: encoded[name] for name in ("brand", "colour")}
    assert correlated_masks([_Named(name) for name in pair], pair).numpy().astype(int).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(ConfigError, match="two features or more"):
        correlated_masks([_Named("brand")], encoded)


def test_two_views_of_an_item_come_together(log):
    """The loss falls from that of guessing to much less, though no view has a feature of the other."""
    a = assembly(log, SelfSupervision(items=32, weight=1.0))
    losses = descend(a, 40)
    assert losses[0] > 0.7 * np.log(32) and np.mean(losses[-5:]) < 0.6 * losses[0]


def test_a_view_without_masks_and_drops_is_the_item_itself(log):
    a = assembly(log, SelfSupervision(dropout=0.0))
    layer, tower = a.model.auxiliary[0], a.model.candidate_tower
    batch = next(iter(a.batches.dataset(0, 1)))
    a.model.create_weights(batch)
    encoded = a.examples.candidates(np.arange(5))
    whole = layer._view(tower, encoded, tf.constant([False] * 4), False)
    np.testing.assert_allclose(whole, tower(encoded), atol=1e-6)
    # All masked: what a server gets for an item of which nothing is known.
    nothing = {"item_id": [""], "category": [""], "price": [np.nan], "image": [[0.0] * toy.CLUSTERS]}
    unknown = tower(tower.encode({k: tf.constant(v, tower.inputs()[k].dtype) for k, v in nothing.items()}))
    np.testing.assert_allclose(layer._view(tower, encoded, tf.constant([True] * 4), False)[3:], unknown[:1] + tf.zeros(
        [2, 1]), atol=1e-6)


def test_lists_lose_values_and_nothing_else_does(log):
    a = assembly(log, SelfSupervision(dropout=0.5), dataclasses.replace(
        SCHEMA, candidate=(Id("item_id", dim=8), Text("category", dim=4))))
    layer = a.model.auxiliary[0]
    index = tf.tile([[0, 1, 2, -1]], [2000, 1])
    dropped = layer._drop(index).numpy()
    assert ((dropped == index.numpy()) | (dropped == -1)).all()
    assert (dropped[:, :3] == -1).mean() == pytest.approx(0.5, abs=0.03)
    for part in (tf.range(4), tf.ones([4, 3])):
        np.testing.assert_array_equal(layer._drop(part), part)


def test_content_comes_to_tell_the_id(log):
    a = assembly(log, ContentAlignment(items=64, weight=1.0))
    losses = descend(a, 40)
    assert losses[0] > 0.7 * np.log(64) and np.mean(losses[-5:]) < 0.7 * losses[0]
    ids, (image,) = aligned_fields(a.model.candidate_tower.fields)
    encoded = a.examples.candidates(np.arange(1, toy.ITEMS))
    table, content = (tf.math.l2_normalize(f(encoded[f.name]), axis=1).numpy() for f in (ids, image))
    _, truth = toy.planted()
    nearest = 1 + (content @ table.T).argsort(axis=1)[:, -5:]
    assert (truth.item_cluster[nearest] == truth.item_cluster[1:, None]).mean() > 0.8


def test_items_without_content_or_a_learned_id_do_not_count(log):
    """A batch of them alone gives a loss and a gradient of zero."""
    a = assembly(log, ContentAlignment(items=4, weight=1.0))
    layer, batch = a.model.auxiliary[0], next(iter(a.batches.dataset(0, 1)))
    a.model.create_weights(batch)

    class First:
        def uniform(self, shape, low, high, dtype):
            return tf.zeros(shape, dtype)

    assert float(auxiliary_loss(a.model, batch)) > 0
    layer._draws = First()
    towers, _ = gradient_norms(a.model, batch, layer)
    assert float(auxiliary_loss(a.model, batch)) == 0 and towers == 0


@pytest.mark.parametrize(("candidate", "message"), [
    ((Id("item_id"), Category("category")), "hold Id('item_id') and a Vector"),
    ((Id("item_id"), Vector("image", dim=8)), "be the 32 of Id('item_id')"),
])
def test_what_cannot_be_aligned_is_refused(log, candidate, message):
    a = assembly(log, ContentAlignment(), dataclasses.replace(SCHEMA, candidate=candidate))
    with pytest.raises(ConfigError) as error:
        aligned_fields(a.model.candidate_tower.fields)
    assert message in str(error.value)


def test_a_training_with_all_of_them_resumes_as_if_never_stopped(tmp_path):
    from tfrs_twotower.recommender import Recommender

    frames, _ = toy.planted()
    frames["items"]["image"] = np.eye(toy.ITEMS, 4, dtype=np.float32).tolist()
    auxiliary = (Distillation(8, (4,)), SelfSupervision(16), ContentAlignment(16))
    base = toy.recipe(epochs=2, batch_size=4096)
    recipe = dataclasses.replace(base, schema=SCHEMA, model=dataclasses.replace(base.model, auxiliary=auxiliary))
    steps, left = toy.Steps(), toy.Steps()
    whole = Recommender(recipe, directory=tmp_path / "whole", **frames).fit(verbose=0, callbacks=[steps])

    class Stop(tf.keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Recommender(recipe, directory=tmp_path / "cut", **frames).fit(verbose=0, callbacks=[Stop()])
    again = Recommender(recipe, directory=tmp_path / "cut", **frames).fit(verbose=0, callbacks=[left])
    assert toy.same_weights(again, whole) and 2 * left.count == steps.count


def test_every_loss_of_a_step_reads_the_same_scheduled_temperature(log):
    a = assembly(log, Distillation())
    objective, read = a.model.objective, []
    objective.task.temperature = build_temperature(ScheduledTemperature(start=0.4, end=0.1, steps=2))

    class Reads(tf.keras.layers.Layer):
        def call(self, *_, **__):
            read.append(float(objective.temperature.value()))
            return 0.0

    a.model.auxiliary = [Reads()]
    for _ in range(2):
        a.model.compute_loss(next(iter(a.batches.dataset(0, 1))), training=True)
    assert read == pytest.approx([0.4, 0.2])
