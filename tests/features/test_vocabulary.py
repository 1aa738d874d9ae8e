"""Ids are numbered by how often training met them, and found again in the graph."""

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.features import Vocabulary
from tfrs_twotower.features.vocabulary import learn_keys

import tensorflow as tf  # isort: skip


def vocabulary(keys, counts, **settings):
    return Vocabulary(learn_keys(pa.array(keys), np.array(counts), **settings))


def lookup(found, values, dtype=tf.string):
    return found.lookup(tf.constant(values, dtype)).numpy().tolist()


def test_numbered_by_count_then_id():
    found = vocabulary(["b", "a", "c", "d"], [2, 2, 5, 0])
    assert lookup(found, ["c", "a", "b", "d", "", "zz"]) == [1, 2, 3, 0, 0, 0]
    found = vocabulary([30, 10, 20], [1, 1, 1])
    assert lookup(found, [[10, 20], [30, -1]], tf.int64) == [[1, 2], [3, 0]]


def test_counts_of_repeated_keys_add_up():
    assert lookup(vocabulary(["a", "b", "a", "a"], [1, 3, 1, 2]), ["a", "b"]) == [1, 2]


def test_min_count_and_limit():
    assert vocabulary(["a", "b"], [2, 1], min_count=2).size == 1
    assert lookup(vocabulary(["a", "b", "c"], [1, 3, 2], limit=2), ["a", "b", "c"]) == [0, 1, 2]


@pytest.mark.parametrize("keys", [["", None], [-1, None]])
def test_missing_ids_are_no_keys(keys):
    assert vocabulary(keys, [5, 5]).size == 0


def test_an_empty_vocabulary_knows_nothing():
    assert lookup(vocabulary(["a"], [0]), ["a", ""]) == [0, 0]


def test_extreme_integers():
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    found = vocabulary([high, low + 1, 0], [3, 2, 1])
    assert lookup(found, [high, low + 1, 0, low, 1], tf.int64) == [1, 2, 3, 0, 0]


def test_keys_come_back_in_order():
    keys = np.array([5, -7, 3])
    np.testing.assert_array_equal(Vocabulary(keys).keys(), keys)


def test_two_hundred_thousand_ids_stay_outside_the_saved_graph(tmp_path):
    names = [f"item-{i:06d}" for i in range(200_000)]
    module = tf.Module()
    module.vocabulary = vocabulary(names, np.arange(200_000, 0, -1))
    module.run = tf.function(module.vocabulary.lookup, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    found = loaded.run(tf.constant([*names[::1000], "item-200000"])).numpy()
    np.testing.assert_array_equal(found, [*range(1, 200_001, 1000), 0])
    assert (tmp_path / "saved_model.pb").stat().st_size < 50_000
