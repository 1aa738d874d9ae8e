"""Values by hand of the fields that read many values a row: lists, texts, histories."""

import math

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower import columns
from tfrs_twotower.features import History, Id, MultiValue, Schema, Text, build_fields
from tfrs_twotower.features.fields.text import TextField

import tensorflow as tf  # isort: skip

DAY = 86400


def multi_value(pooling, **settings):
    feature = MultiValue("g", pooling, **settings)
    _, (made,) = build_fields(Schema(query=(Id("user_id"),), candidate=(feature,)))
    made.adapt({"g": pa.array([["a", "b", None], ["a"], None, ["rare"]])}, np.array([2, 1, 5, 0]))
    return made


def test_multi_value_leaves_out_what_is_missing_or_unknown():
    made = multi_value("mean", length=3)
    raw = {"g": tf.constant([["b", "", "a", "a"], ["rare", "?", "", ""], ["", "", "", ""]])}
    assert made.encode(raw)["index"].numpy().tolist() == [[1, -1, 0], [-1, -1, -1], [-1, -1, -1]]
    assert made.encode({"g": tf.zeros([2, 0], tf.string)})["index"].numpy().tolist() == [[-1] * 3] * 2


@pytest.mark.parametrize("pooling", ["mean", "sum", "attention"])
def test_multi_value_pooling(pooling):
    made = multi_value(pooling, dim=3)
    encoded = {"index": tf.constant([[0, -1, 1], [1, -1, -1], [-1, -1, -1]])}
    found = made(encoded).numpy()
    table = made.embeddings.numpy()
    share = 0.5
    if pooling == "attention":
        made.trainable_weights[1].assign([[100.0], [0.0], [0.0]])
        found = made(encoded).numpy()
        share = 1 / (1 + math.exp(100 * float(table[1, 0] - table[0, 0])))
    both = table[0] * share + table[1] * (1 - share)
    np.testing.assert_allclose(found[0], table[0] + table[1] if pooling == "sum" else both, rtol=1e-5)
    np.testing.assert_allclose(found[1], table[1], rtol=1e-6)
    np.testing.assert_array_equal(found[2], 0)


def tokenise(texts, analyser):
    return TextField(Text("title", analyser)).vectorization(tf.constant(texts))


def tokens(text, analyser):
    return [t.decode() for t in tokenise([text, ""], analyser)[0].numpy()]


@pytest.mark.parametrize("text, analyser, expected", [
    ("cat", "trigrams", ["#ca", "cat", "at#"]),
    ("A cat", "trigrams", ["#a#", "#ca", "cat", "at#"]),
    ("Æon, 猫!", "trigrams", ["#æo", "æon", "on#", "#猫#"]),
    ("The  Cat's (2nd) sci-fi", "words", ["the", "cat", "s", "2nd", "sci", "fi"]),
    ("ab 猫", "characters", ["a", "b", "猫"]),
    ("?!", "trigrams", []),
    ("", "characters", []),
])
def test_tokens(text, analyser, expected):
    assert tokens(text, analyser) == expected


def test_tokens_of_bytes_that_are_no_text():
    for analyser in ("words", "trigrams", "characters"):
        assert tokenise([b"\xff\xfe ok"], analyser).nrows() == 1


def text_field(**settings):
    _, (made,) = build_fields(Schema(query=(Id("user_id"),), candidate=(Text("title", **settings),)))
    made.adapt({"title": pa.array(["the cat", "the dog", None, "unseen"])}, np.array([1, 2, 9, 0]))
    return made


def test_text_is_the_mean_of_its_known_tokens():
    made = text_field(analyser="words", dim=4, length=3)
    encoded = made.encode({"title": tf.constant(["THE dog, unseen", "", "unseen", "cat cat the the dog"])})
    # the: 3 events, dog: 2, cat: 1
    assert encoded["index"].numpy().tolist() == [[0, 1, -1], [-1] * 3, [-1] * 3, [2, 2, 0]]
    found = made(encoded).numpy()
    np.testing.assert_allclose(found[0], made.embeddings.numpy()[:2].mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(found[1:3], 0)


def test_text_keeps_the_most_frequent_tokens():
    made = text_field(analyser="words", max_tokens=2, length=3)
    encoded = made.encode({"title": tf.constant(["the dog cat"])})
    assert encoded["index"].numpy().tolist() == [[0, 1, -1]]


def history(**settings):
    schema = Schema(query=(History(**settings),), candidate=(Id("item_id", dim=3),))
    (made,), (items,) = build_fields(schema)
    items.adapt({"item_id": pa.array(["a", "b", "c"])}, np.array([3, 2, 1]))
    return made, items


def encode(made, ids, times, now):
    return made.encode({
        columns.HISTORY_ITEM_ID: tf.constant(ids),
        columns.HISTORY_TIMESTAMP: tf.constant(times, tf.int64),
        columns.TIMESTAMP: tf.constant(now, tf.int64),
    })


def test_history_encodes_items_and_ages():
    made, _ = history(length=4)
    now = 100 * DAY
    encoded = encode(
        made, [["a", "?", "c"], ["b", "", ""], ["", "", ""]],
        [[now - 3 * DAY, now - DAY, now - DAY // 2], [0, 0, 0], [0, 0, 0]], [now, now, 0],
    )
    assert encoded["index"].numpy().tolist() == [[1, 0, 3, -1], [2, -1, -1, -1], [-1] * 4]
    np.testing.assert_allclose(encoded["age"], [[3, 1, 0.5, 0], [0] * 4, [0] * 4])


def test_history_keeps_the_newest_events():
    made, _ = history(length=2)
    encoded = encode(made, [["a", "b", "c"], ["a", "b", ""], ["a", "", ""]],
                     [[DAY, 2 * DAY, 3 * DAY], [DAY, 2 * DAY, 0], [DAY, 0, 0]], [4 * DAY] * 3)
    assert encoded["index"].numpy().tolist() == [[2, 3], [1, 2], [1, -1]]
    assert encoded["age"].numpy().tolist() == [[2, 1], [3, 2], [3, 0]]


def test_history_without_the_request_time_counts_from_the_newest_event():
    made, _ = history(length=2)
    encoded = encode(made, [["a", "b"]], [[5 * DAY, 7 * DAY]], [0])
    assert encoded["age"].numpy().tolist() == [[2, 0]]


def test_history_of_rows_looked_up_before():
    made, _ = history(length=3)
    times, now = [[DAY, 2 * DAY, 3 * DAY, 4 * DAY], [DAY, 0, 0, 0]], [5 * DAY, 6 * DAY]
    raw = encode(made, [["b", "?", "a", "c"], ["c", "", "", ""]], times, now)
    index = np.array([[2, 0, 1, 3], [3, -1, -1, -1]], np.int32)
    rows = made.encode_rows(index, np.array(times), np.array(now))
    tf.nest.map_structure(np.testing.assert_array_equal, raw, rows)


def test_history_of_no_width():
    made, _ = history(length=2)
    encoded = encode(made, np.zeros((2, 0), "S1"), np.zeros((2, 0)), [DAY, DAY])
    assert encoded["index"].numpy().tolist() == [[-1, -1]] * 2
    np.testing.assert_array_equal(made(encoded), np.zeros((2, 3)))


def test_history_mean_shares_the_items_table():
    made, items = history(pooling="mean", length=3)
    encoded = {"index": tf.constant([[1, 0, -1], [-1] * 3]), "age": tf.zeros([2, 3])}
    found = made(encoded).numpy()
    np.testing.assert_allclose(found[0], (items.table[0] + items.table[1]) / 2, rtol=1e-5)
    np.testing.assert_array_equal(found[1], 0)
    assert [id(w) for w in made.trainable_weights] == [id(items.table)]


def test_training_empties_a_share_of_the_pasts():
    made, items = history(length=3, dropout=0.25)
    encoded = {"index": tf.tile([[1, 2, -1]], [4000, 1]), "age": tf.zeros([4000, 3])}
    found = made(encoded).numpy()
    mean = items.table.numpy()[1:3].mean(axis=0)
    np.testing.assert_allclose(found, np.tile(mean, [4000, 1]), rtol=1e-5)
    trained = made(encoded, training=True).numpy()
    empty, whole = (trained == 0).all(axis=1), np.isclose(trained, mean).all(axis=1)
    assert (empty ^ whole).all()
    assert empty.mean() == pytest.approx(0.25, abs=0.03)  # four standard errors


def test_training_cuts_the_newest_events_of_a_share_of_the_pasts():
    made, items = history(length=4, cut=0.5)
    encoded = {"index": tf.tile([[1, 2, 3, -1]], [4000, 1]), "age": tf.zeros([4000, 4])}
    found, table = made(encoded).numpy(), items.table.numpy()
    whole = table[1:4].mean(axis=0)
    np.testing.assert_allclose(found, np.tile(whole, [4000, 1]), rtol=1e-5)
    trained = made(encoded, training=True).numpy()
    shares = [np.isclose(trained, left).all(axis=1).mean() for left in (0, table[1], table[1:3].mean(axis=0), whole)]
    assert shares == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2], abs=0.032)  # four standard errors
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("learned", [False, True])
def test_history_decay_halves_each_half_life(learned):
    made, items = history(pooling="decay", length=3, half_life_days=10.0, learned=learned)
    ages = tf.constant([[20.0, 10.0, 0.0], [1e6, 0, 0]])
    encoded = {"index": tf.constant([[1, 2, 3], [1, -1, -1]]), "age": ages}
    found = made(encoded).numpy()
    table = items.table.numpy()
    np.testing.assert_allclose(found[0], (table[1] * 0.25 + table[2] * 0.5 + table[3]) / 1.75, rtol=1e-4)
    np.testing.assert_allclose(found[1], table[1], rtol=1e-5)  # a single old event does not vanish
    assert len(made.trainable_weights) == (2 if learned else 1)


def test_history_decay_is_learned():
    made, items = history(pooling="decay", length=2, half_life_days=10.0, learned=True)
    encoded = {"index": tf.constant([[1, 2]]), "age": tf.constant([[10.0, 0.0]])}
    made(encoded)
    items.table.assign([[0, 0, 0], [0, 0, 0], [1, 1, 1], [0, 0, 0]])  # only the newer item counts
    with tf.GradientTape() as tape:
        loss = -tf.reduce_sum(made(encoded))
    (decay,) = [w for w in made.trainable_weights if "log_decay" in w.name]
    assert tape.gradient(loss, decay).numpy() < 0  # so a faster decay, a larger log λ, is better


def test_padding_sends_no_gradient():
    made, items = history(length=3)
    encoded = {"index": tf.constant([[2, -1, -1], [-1] * 3]), "age": tf.zeros([2, 3])}
    made(encoded)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(made(encoded))
    gradient = tape.gradient(loss, items.table)
    assert isinstance(gradient, tf.IndexedSlices) and gradient.indices.numpy().tolist() == [2]
