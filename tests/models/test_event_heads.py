"""A head for a kind of event: its loss by hand, and what it learns of planted purchases."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import toy

from tfrs_twotower.data import Columns
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import fingerprints
from tfrs_twotower.models import EventHeads, FixedTemperature, build_temperature
from tfrs_twotower.recommender import Recommender


def model(temperature):
    return SimpleNamespace(objective=SimpleNamespace(temperature=build_temperature(FixedTemperature(temperature))))


def test_the_loss_by_hand():
    layer = EventHeads(("cart", "buy"), weight=0.5).build()
    u, v = tf.constant([[1.0, 0.0], [0.6, 0.8]]), tf.constant([[0.5, 0.5], [1.0, 0.0]])
    batch = {"event": fingerprints(tf.constant(["buy", "click"]))}
    start = layer(model(0.5), batch, u, v, None)
    np.testing.assert_allclose(start, 0.5 * 2 * np.log(2), rtol=1e-6)  # heads at 0 say 1/2 to everything
    layer._heads.assign([[0.0, 1.0], [0.0, 2.0]])
    layer._bias.assign([0.0, -1.0])
    # Buy: ⟨u ⊙ w, v⟩ / τ + b = 0.5 / 0.5 − 1 = 0 and 0.6 / 0.5 − 1 = 0.2; the first is a purchase.
    expected = np.log(2) + (np.log(2) + np.log1p(np.exp(0.2))) / 2
    np.testing.assert_allclose(layer(model(0.5), batch, u, v, None), 0.5 * expected, rtol=1e-6)


def test_the_head_of_long_visits_by_hand():
    layer = EventHeads(dwell=30.0, weight=1.0).build()
    u = v = tf.constant([[1.0, 0.0]] * 3)
    batch = {"event": fingerprints(tf.constant(["", "", ""])), "labels": {"dwell": tf.constant([30.0, 29.0, np.nan])}}
    layer(model(1.0), batch, u, v, None)
    layer._heads.assign([[1.0], [0.0]])
    # A logit of 1 for each: one long visit, and two that count as short.
    expected = (np.log1p(np.exp(-1)) + 2 * np.log1p(np.exp(1))) / 3
    np.testing.assert_allclose(layer(model(1.0), batch, u, v, None), expected, rtol=1e-6)
    assert list(layer.heads()) == ["dwell"] and EventHeads(dwell=1.0).labels() == ("dwell",)


def test_a_head_learns_which_items_are_bought(tmp_path):
    """Nine of ten events of the items of cluster 0 are purchases, one of ten elsewhere."""
    frames, truth = toy.planted()
    events = frames["interactions"]
    rng = np.random.default_rng(0)
    likely = np.where(truth.item_cluster[events["item_id"].str[1:].astype(int)] == 0, 0.9, 0.1)
    events = events.assign(event=np.where(rng.random(len(events)) < likely, "buy", "click"))
    recipe = toy.recipe(epochs=3)
    heads = EventHeads(("buy",), weight=1.0)
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, auxiliary=(heads,)))
    run = Recommender(recipe, events, frames["users"], frames["items"], columns=Columns(event="event"),
                      directory=tmp_path).fit(verbose=0)
    a, head = run.assembly, run.assembly.model.auxiliary[0]
    rows = a.split.test.row
    u = a.query_vectors(rows)
    v = a.candidate_vectors()[a.positions(a.log.item[rows])]
    logits = head.logits(tf.constant(u), tf.constant(v)).numpy()[:, 0] / a.model.temperature + head._bias.numpy()
    bought = truth.item_cluster[[int(i[1:]) for i in a.log.items["item_id"].take(a.log.item[rows]).to_pylist()]] == 0
    probability = 1 / (1 + np.exp(-logits))
    # A mix of objectives is one search: what `bought` adds is the head's part of the score.
    features, k = a.examples.raw_queries(rows[:4]), tf.constant(len(a.catalogue))
    none, weight = tf.zeros([1, 0], tf.string), tf.constant([[2.0]])
    ids, scores = run.retriever.recommend(features, k, none, none, 0.0, exact=True)
    mixed_ids, mixed = run.retriever.recommend(features, k, none, none, 0.0, exact=True, objectives=weight)
    everyone = np.repeat(u[:4], len(a.catalogue), axis=0), np.tile(a.candidate_vectors(), (4, 1))
    added = (head.logits(*map(tf.constant, everyone)).numpy()[:, 0] / a.model.temperature).reshape(4, -1)
    for row in range(4):
        plain = dict(zip(ids[row].numpy(), scores[row].numpy()))
        by_id = {item: plain[item] + 2 * more for item, more in zip(run.retriever.item_ids.numpy(), added[row])}
        assert dict(zip(mixed_ids[row].numpy(), mixed[row].numpy())) == pytest.approx(by_id, abs=1e-4)
    assert probability[bought].mean() > 0.65 and probability[~bought].mean() < 0.3


def test_settings_are_checked():
    for wrong in (lambda: EventHeads(()), lambda: EventHeads(("a", "a")), lambda: EventHeads(("a",), weight=0.0)):
        with pytest.raises(ConfigError, match="EventHeads"):
            wrong()
