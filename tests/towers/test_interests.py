"""Several interests of one query: routing and attention by hand, and how a batch is trained on them."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import Id, Schema, Sequence, SequenceEmbedding, build_fields
from tfrs_twotower.models import FixedTemperature, MultiInterestTwoTower, build_temperature
from tfrs_twotower.towers import MIND, MLP, ComiRec, Tower, build_encoder
from tfrs_twotower.towers.mind import route, squash, used_interests

import tensorflow as tf  # isort: skip

PLAIN = MLP(widths=())


def sequence(values, lengths):
    values = tf.constant(values, tf.float32)
    valid = tf.sequence_mask(lengths, values.shape[1])
    nothing = tf.zeros(values.shape[:2], tf.int32)
    return SequenceEmbedding(tf.where(valid[:, :, tf.newaxis], values, 0.0), valid, nothing, nothing)


def test_squash_keeps_the_direction_and_a_length_below_one():
    np.testing.assert_allclose(squash(tf.constant([[3.0, 4.0], [0.0, 0.0]])), [[15 / 26, 20 / 26], [0, 0]], atol=1e-6)


def test_a_short_past_has_fewer_interests():
    used = used_interests(tf.constant([0, 1, 3, 4, 8, 100]), 3).numpy().sum(axis=1)
    assert used.tolist() == [1, 1, 1, 2, 3, 3]  # max(1, min(3, ⌊log₂ n⌋))


def test_one_round_of_routing_by_hand():
    events = tf.constant([[[2.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    logits = tf.constant([[[np.log(3.0), 0.0, 0.0], [0.0, 0.0, 0.0]]], tf.float32)
    found = route(events, tf.constant([[True, True, False]]), logits, tf.constant([[True, True]]), 1).numpy()[0]
    # weights: 3/4 and 1/4 of the first event, half of the second, nothing of the padding
    np.testing.assert_allclose(found, squash(tf.constant([[1.5, 0.5], [0.5, 0.5]])), atol=1e-6)


def test_routing_parts_two_kinds_of_events():
    events = np.zeros((1, 8, 4), np.float32)
    events[0, ::2, 0], events[0, 1::2, 1] = 3.0, 3.0
    start = tf.constant(np.random.default_rng(0).normal(size=(1, 2, 8)), tf.float32)
    start += tf.constant([[[0.5, 0.0] * 4, [0.0, 0.5] * 4]])
    found = route(tf.constant(events), tf.ones([1, 8], tf.bool), start, tf.ones([1, 2], tf.bool), 6).numpy()[0]
    np.testing.assert_allclose(found, [[1, 0, 0, 0], [0, 1, 0, 0]], atol=0.15)


def test_unused_interests_are_copies_of_the_first():
    encoder = build_encoder(MIND(interests=3, hidden=PLAIN), seed=1)
    values = np.random.default_rng(0).normal(size=(2, 9, 4))
    context = tf.constant([[5.0], [6.0]])
    found = encoder([sequence(values, [3, 9]), context]).numpy()
    assert found.shape == (2, 3, 5) and (found[:, :, 4] == [[5.0] * 3, [6.0] * 3]).all()
    assert (found[0, 0] == found[0, 1]).all() and (found[0, 0] == found[0, 2]).all()
    assert len({tuple(row) for row in found[1]}) == 3


@pytest.mark.parametrize("settings", [MIND(interests=2, hidden=PLAIN), ComiRec(interests=2, hidden=PLAIN)])
def test_padding_changes_nothing_and_no_past_is_finite(settings):
    encoder = build_encoder(settings, seed=1)
    values = np.random.default_rng(0).normal(size=(2, 5, 4))
    wide = encoder([sequence(np.concatenate([values, 7 + values], axis=1), [5, 0])])
    narrow = encoder([sequence(values, [5, 0])])
    np.testing.assert_allclose(wide, narrow, atol=1e-6)
    assert not np.asarray(wide)[1].any() and np.abs(wide[0]).max() > 0


def test_comirec_attention_by_hand():
    encoder = build_encoder(ComiRec(interests=2, attention=2, hidden=PLAIN), seed=1)
    past = sequence([[[1.0, 0.0], [0.0, 1.0]]], [2])
    encoder([past])
    place, wide, narrow = encoder.trainable_weights
    place.assign(tf.zeros_like(place))
    wide.assign(np.arctanh([[0.5, 0.0], [0.0, 0.5]]))
    narrow.assign([[2 * np.log(3.0), 0.0], [0.0, 0.0]])
    # first interest: scores log 3 and 0, so weights 3/4 and 1/4; second: equal weights
    np.testing.assert_allclose(encoder([past])[0], [[0.75, 0.25], [0.5, 0.5]], atol=1e-6)
    place.scatter_nd_update([[0]], [[1.0, 0.0]])  # place 0 is the newest event's: now it scores log 3 too
    np.testing.assert_allclose(encoder([past])[0], [[0.5, 0.5], [0.5, 0.5]], atol=1e-6)


def test_attention_to_the_item_to_be_found():
    scores = tf.constant([[1.0, 3.0, 2.0]])
    assert build_encoder(ComiRec()).attend(scores).numpy().tolist() == [[0.0, 1.0, 0.0]]
    e = np.exp([2.0, 6.0, 4.0])
    np.testing.assert_allclose(build_encoder(MIND(sharpness=2.0)).attend(scores)[0], e / e.sum(), rtol=1e-5)
    np.testing.assert_allclose(build_encoder(MIND(sharpness=0.0)).attend(scores)[0], [1 / 3] * 3, rtol=1e-6)


def test_copies_of_the_first_interest_take_no_part_in_the_attention():
    """With 4 to 7 events there are 2 interests of 4: the copies would give the first 3 parts of 4."""
    schema = Schema(query=(Sequence(length=8),), candidate=(Id("item_id", dim=4),))
    query, (items,) = build_fields(schema, seed=3)
    items.adapt({"item_id": pa.array([11, 12, 13])}, np.ones(3, int))
    tower = Tower(query, MIND(interests=4, sharpness=0.0, hidden=MLP(widths=(5,), dropout=0.5)), 4, False, seed=3)
    index = [[1, 2, 3, 1, -1], [1, -1, -1, -1, -1], [-1] * 5]
    batch = {
        "query": {query[0].name: {"index": tf.constant(index), "age": tf.zeros([3, 5], tf.int32)}},
        "candidate": tf.ones([3, 4]), "candidate_id": tf.constant([4, 5, 6]), "weight": tf.ones([3]),
        "known_positives": tf.zeros([3, 0], tf.int32), "explicit_negatives": tf.zeros([3, 0], tf.int32),
    }
    objective = SimpleNamespace(temperature=build_temperature(FixedTemperature(0.1)))
    model = MultiInterestTwoTower(tower, lambda candidate, training: candidate, objective)
    interests = tower(batch["query"]).numpy()
    queries, _, _ = model.pairs(batch)
    np.testing.assert_allclose(queries[0], (interests[0, 0] + interests[0, 1]) / 2, atol=1e-6)
    np.testing.assert_allclose(queries[1:], interests[1:, 0], atol=1e-6)
    assert np.abs(interests[0, 0] - interests[0, 1]).max() > 1e-3


def test_comirec_is_trained_on_one_interest_however_short_the_past():
    encoder = build_encoder(ComiRec(interests=3, hidden=PLAIN), seed=1)
    interests = encoder([sequence([[[1.0, 2.0], [0.0, 0.0]]], [1])])
    np.testing.assert_allclose(interests[0], [[1.0, 2.0]] * 3, atol=1e-6)
    assert encoder.attend(tf.reduce_sum(interests, axis=-1)).numpy().tolist() == [[1.0, 0.0, 0.0]]


def test_a_batch_is_trained_on_the_interest_that_its_item_calls_for():
    class Tower(tf.keras.layers.Layer):
        encoder = build_encoder(ComiRec(interests=2))

        def call(self, values, training=False):
            return values

    objective = SimpleNamespace(temperature=build_temperature(FixedTemperature(0.1)))
    model = MultiInterestTwoTower(Tower(), Tower(), objective)
    batch = {
        "query": tf.constant([[[1.0, 0.0], [0.0, 1.0]]] * 2),
        "candidate": tf.constant([[0.2, 0.9], [0.9, 0.2]]),
        "candidate_id": tf.constant([4, 5]), "weight": tf.ones([2]),
        "known_positives": tf.zeros([2, 0], tf.int32), "explicit_negatives": tf.zeros([2, 0], tf.int32),
    }
    queries, candidates, positives = model.pairs(batch, training=True)
    np.testing.assert_allclose(queries, [[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(candidates, batch["candidate"])
    assert positives.rows.numpy().tolist() == [4, 5]


def test_a_multi_interest_encoder_needs_a_sequence():
    with pytest.raises(ConfigError, match="Sequence"):
        build_encoder(MIND())([tf.zeros([2, 3])])


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="sharpness"):
        MIND(sharpness=-1.0)
    with pytest.raises(ConfigError, match="interests"):
        ComiRec(interests=0)
