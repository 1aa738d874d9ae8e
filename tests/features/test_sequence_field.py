"""The sequence feature, by values."""

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower import columns as c
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import Id, Schema, Sequence, build_fields

import tensorflow as tf  # isort: skip


def field(length=4, request_time=True):
    schema = Schema(query=(Sequence(length=length, request_time=request_time),), candidate=(Id("item_id", dim=2),))
    (made,), (items,) = build_fields(schema, seed=1)
    items.adapt({"item_id": pa.array([11, 12, 13, 14, 15])}, np.ones(5))
    return made, items


def encoded(made, ids, times, now):
    raw = {c.HISTORY_ITEM_ID: tf.constant(ids, tf.int64), c.HISTORY_TIMESTAMP: tf.constant(times, tf.int64)}
    return made.encode({**raw, c.TIMESTAMP: tf.constant(now, tf.int64)})


def test_each_place_is_asked_when_the_next_event_happens():
    made, items = field()
    found = encoded(made, [[11, 12, 13], [14, -1, -1]], [[100, 160, 190], [50, 0, 0]], [200, 55])
    rows = {item: int(items.index(tf.constant([item], tf.int64))[0]) for item in (11, 12, 13, 14)}
    assert found["index"].numpy().tolist() == [[rows[11], rows[12], rows[13]], [rows[14], -1, -1]]
    assert found["age"].numpy().tolist() == [[100, 40, 10], [5, 0, 0]]
    sequence = made(found)
    assert sequence.asked.numpy().tolist() == [[40, 10, 0], [0, 0, 0]]
    assert sequence.valid.numpy().tolist() == [[True, True, True], [True, False, False]]
    np.testing.assert_array_equal(sequence.values[0, 1], items.table[rows[12]])
    np.testing.assert_array_equal(sequence.values[1, 1:], np.zeros([2, 2]))


def test_without_the_requests_time_only_pauses_between_events_are_known():
    made, _ = field(request_time=False)
    assert c.TIMESTAMP not in made.inputs()
    first, second = (made(encoded(made, [[11, 12]], [[100, 160]], [now])) for now in (200, 99_999))
    assert first.age.numpy().tolist() == second.age.numpy().tolist() == [[60, 0]]
    assert first.asked.numpy().tolist() == [[60, 0]]


def test_the_newest_events_are_read_and_gaps_close():
    made, _ = field(length=2)
    found = encoded(made, [[11, -1, 12, 13], [-1, 14, -1, -1]], [[10, 20, 30, 40], [0, 50, 0, 0]], [0, 0])
    assert found["age"].numpy().tolist() == [[10, 0], [0, 0]]  # without a request time: the newest event's
    assert (found["index"].numpy() >= 0).tolist() == [[True, True], [True, False]]


def test_of_a_run_the_newest_event_is_read():
    table = {"item_id": pa.array([11, 12, 13]), "shop": pa.array(["x", "x", "y"])}
    feature = Sequence(length=3, merge="shop", categories=("shop",))
    (made,), (items,) = build_fields(Schema(query=(feature,), candidate=(Id("item_id", dim=2),)), seed=1)
    items.adapt(table, np.ones(3, np.int64))
    made.adapt(table, np.ones(3, np.int64))
    found = encoded(made, [[13, 11, 12, 13, 13, 12, 11]], [[10, 20, 30, 40, 50, 60, 70]], [80])
    kept = items.index(tf.constant([12, 13, 11], tf.int64)).numpy().tolist()
    assert found["index"].numpy().tolist() == [kept] and found["age"].numpy().tolist() == [[50, 30, 10]]
    assert made(found).asked.numpy().tolist() == [[30, 10, 0]] and feature.reach == 12
    with pytest.raises(ConfigError, match=r"`Sequence.merge` must be `item_id` or one of `categories`"):
        Sequence(merge="shop")


@pytest.mark.parametrize("width", [0, 3])
def test_no_past_at_all(width):
    made, _ = field()
    found = encoded(made, np.full([2, width], -1), np.zeros([2, width]), [7, 7])
    assert found["index"].numpy().tolist() == [[-1], [-1]]
    assert not made(found).valid.numpy().any()


def test_an_item_that_was_not_learned_is_an_event_all_the_same():
    made, _ = field()
    assert encoded(made, [[99, 11]], [[1, 2]], [3])["index"].numpy()[0, 0] == 0


def test_a_candidate_has_no_sequence():
    with pytest.raises(ConfigError, match="items have no history"):
        Schema(query=(Id("user_id"),), candidate=(Id("item_id"), Sequence()))
    with pytest.raises(ConfigError, match="shares the candidate's table"):
        Schema(query=(Sequence(),), candidate=(Id("brand"),))
