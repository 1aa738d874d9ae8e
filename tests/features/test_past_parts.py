"""What histories read besides items and times, by values."""

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import History, Id, Schema, Searches, build_fields
from tfrs_twotower.features.fields.past_parts import DwellField

import tensorflow as tf  # isort: skip

ITEMS = pa.array([11, 12, 13])
COLUMNS = {
    "item_id": ITEMS, "genres": pa.array([["a", "b"], ["b"], None]), "brand": pa.array(["x", None, "y"]),
    "history_buy_event": pa.array(["buy", "buy", "view"]), "history_buy_dwell": pa.array([1.0, None, 3.0]),
}


def field():
    feature = History(length=2, kinds=("buy",), reads=("event", "dwell"), categories=("genres", "brand"))
    (made,), (items,) = build_fields(Schema(query=(feature,), candidate=(Id("item_id", dim=2),)), seed=1)
    items.adapt({"item_id": ITEMS}, np.array([3, 2, 1]))
    made.adapt(COLUMNS, np.array([3, 2, 1]))
    return made, items


def raw(ids, kinds, dwells):
    return {
        "history_buy_item_id": tf.constant([ids], tf.int64), "history_buy_event": tf.constant([kinds]),
        "history_buy_timestamp": tf.ones([1, len(ids)], tf.int64), "timestamp": tf.constant([9], tf.int64),
        "history_buy_dwell": tf.constant([dwells], tf.float32),
    }


def test_an_events_parts_are_added_to_its_item():
    made, items = field()
    found = made(made.encode(raw([11, 12, 13], ["buy", "view", "?"], [0.0, np.nan, 3.0])))[0]
    kind, dwell, (genres, brands) = made.parts["event"].table, made.parts["dwell"].table, made.values
    genre = dict(zip(genres.vocabulary.get_vocabulary()[1:], genres.embeddings.numpy()))
    brand = dict(zip(brands.vocabulary.get_vocabulary()[1:], brands.embeddings.numpy()))
    item = {i: items.table[int(items.index(tf.constant([i], tf.int64))[0])] for i in (12, 13)}
    twelve = item[12] + kind[2] + dwell[0] + genre["b"]  # "buy" is the most frequent kind, so "view" has row 2
    thirteen = item[13] + kind[0] + dwell[5] + brand["y"]
    np.testing.assert_allclose(found, (twelve + thirteen) / 2, rtol=1e-5)


@pytest.mark.parametrize("merge, kept, ages", [
    ("item_id", [12, 11, 14, 99, 99, 13], [7, 6, 4, 3, 2, 1]),
    ("shop", [13, 11, 14, 99, 99, 13], [9, 6, 4, 3, 2, 1]), ("genres", [13, 11, 14, 99, 99, 13], [9, 6, 4, 3, 2, 1]),
    (None, [11, 14, 14, 99, 99, 13], [6, 5, 4, 3, 2, 1]),
])
def test_of_a_run_the_newest_event_is_read(merge, kept, ages):
    table = {"item_id": pa.array([11, 12, 13, 14]), "shop": pa.array(["x", "x", None, None]),
             "genres": pa.array([["a", "b"], ["b", "a"], ["b"], None])}
    feature = History(length=6, merge=merge, categories=("genres", "shop"))
    (made,), (items,) = build_fields(Schema(query=(feature,), candidate=(Id("item_id", dim=2),)), seed=1)
    items.adapt(table, np.ones(4, np.int64))
    made.adapt(table, np.ones(4, np.int64))
    past = {"history_item_id": tf.constant([[13, 13, 11, 12, 11, 14, 14, 99, 99, 13], [-1] * 10], tf.int64),
            "history_timestamp": tf.range(1, 11, dtype=tf.int64) * 86_400 * [[1], [0]],
            "timestamp": tf.constant([11 * 86_400] * 2, tf.int64)}
    found = made.encode(past)
    assert found["index"][0].numpy().tolist() == items.index(tf.constant(kept, tf.int64)).numpy().tolist()
    assert found["age"][0].numpy().tolist() == ages and (found["index"][1].numpy() == -1).all()
    assert feature.reach == (24 if merge else 6)
    empty = made.encode({**past, "history_item_id": tf.zeros([2, 0], tf.int64), "history_timestamp": tf.zeros(
        [2, 0], tf.int64)})
    assert (empty["index"].numpy() == -1).all()


def test_a_column_of_runs_is_one_of_the_categories():
    with pytest.raises(ConfigError, match=r"`History.merge` must be `item_id` or one of `categories`.*brand"):
        History(merge="brand", categories=("genres",))


def test_items_have_the_mean_of_their_values():
    made, items = field()
    genres = made.values[0]
    row = items.index(tf.constant([11, 99], tf.int64))
    np.testing.assert_allclose(genres.of_items(row), [genres.embeddings.numpy().mean(axis=0), [0, 0]], rtol=1e-5)


@pytest.mark.parametrize("seconds, row", [(np.nan, 0), (-1.0, 0), (0.0, 1), (1.0, 3), (3.0, 5), (1e30, 64)])
def test_buckets_of_dwell_are_steps_of_the_root_of_two(seconds, row):
    assert DwellField(2, 1).codes(tf.constant([seconds], tf.float32)).numpy().tolist() == [row]  # 1 + ⌊2·log₂(1 + s)⌋


def test_growing_keeps_the_numbers_of_what_is_known_and_loads_again():
    made, items = field()
    before = {**made.state()}
    items.grow({"item_id": pa.array([11, 12, 13, 14])}, np.array([1, 1, 1, 9]))
    made.grow({**COLUMNS, "item_id": pa.array([11, 12, 13, 14]), "genres": pa.array([["a"], ["b"], [], ["c"]]),
               "brand": pa.array(["x", None, "y", "z"]), "history_buy_event": pa.array(["like"] * 5),
               "history_buy_dwell": pa.nulls(5)}, np.array([1, 1, 1, 9]))
    kinds = made.parts["event"].codes(tf.constant(["buy", "view", "like", "?"])).numpy().tolist()
    assert kinds == [1, 2, 3, 0]
    genres = made.values[0]
    assert genres.vocabulary.get_vocabulary()[1:] == ["b", "a", "c"]
    new = int(items.index(tf.constant([14], tf.int64))[0])
    assert made.state()["item/values_genres/of_rows"][new].tolist() == [2]
    other, _ = field()
    other.items = items
    other.load_state(made.state())
    assert {name: np.asarray(v).tolist() for name, v in other.state().items()} == {
        name: np.asarray(v).tolist() for name, v in made.state().items()
    }
    assert before["item/values_genres/of_rows"].shape[0] == 4
    made.load_state(before)
    made.build(None)
    assert made.values[0].of_items(tf.constant([new])).numpy().tolist() == [[0, 0]]  # it came later: no values


def test_words_of_the_newest_searches_are_pooled():
    schema = Schema(query=(Searches(length=2, dim=3, tokens=2),), candidate=(Id("item_id"),))
    (made,), _ = build_fields(schema, seed=1)
    made.adapt({"searches": pa.array(["red shoes", "blue", "red", None])}, np.ones(4, np.int64))
    words = [["blue", "old red", "RED shoes blue"], ["", "", ""], ["?", "", "blue"]]
    found = made(made.encode({"searches": tf.constant(words)})).numpy()
    of = dict(zip(made.vocabulary.get_vocabulary()[1:], made.embeddings.numpy()))
    # The last two searches, of each the first two tokens; "old" and "?" are not known.
    np.testing.assert_allclose(found, [(of["red"] * 2 + of["shoes"]) / 3, [0] * 3, of["blue"]], rtol=1e-5)


def test_inputs_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="would both be called `history_a_b…`"):
        Schema(query=(History(kinds=("a", "b")), History(kinds=("a_b",), pooling="decay")),
               candidate=(Id("item_id"),))
    with pytest.raises(ConfigError, match="where `Id.buckets` hashes the items"):
        Schema(query=(History(categories=("genres",)),), candidate=(Id("item_id", buckets=9),))
