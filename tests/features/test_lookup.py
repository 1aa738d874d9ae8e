"""Ids are numbered by how often training met them, and found again in the graph."""

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.features import Category, FingerprintLookup, MultiValue, Text
from tfrs_twotower.features.lookup import grown, keras_lookup, learn_keys, lookup_of, lookup_state

import tensorflow as tf  # isort: skip


def vocabulary(keys, counts, **settings):
    return FingerprintLookup(learn_keys(pa.array(keys), np.array(counts), **settings))


def lookup(found, values, dtype=tf.string):
    return found(tf.constant(values, dtype)).numpy().tolist()


def test_numbered_by_count_then_id():
    found = vocabulary(["b", "a", "c", "d"], [2, 2, 5, 0])
    assert lookup(found, ["c", "a", "b", "d", "", "zz"]) == [1, 2, 3, 0, 0, 0]
    found = vocabulary([30, 10, 20], [1, 1, 1])
    assert lookup(found, [[10, 20], [30, -1]], tf.int64) == [[1, 2], [3, 0]]


def test_counts_of_repeated_keys_add_up():
    assert lookup(vocabulary(["a", "b", "a", "a"], [1, 3, 1, 2]), ["a", "b"]) == [1, 2]


def test_min_count_and_limit():
    assert vocabulary(["a", "b"], [2, 1], min_count=2).vocabulary_size() == 2
    assert lookup(vocabulary(["a", "b", "c"], [1, 3, 2], limit=2), ["a", "b", "c"]) == [0, 1, 2]


@pytest.mark.parametrize("keys", [["", None], [-1, None]])
def test_missing_ids_are_no_keys(keys):
    assert vocabulary(keys, [5, 5]).vocabulary_size() == 1


def test_an_empty_vocabulary_knows_nothing():
    assert lookup(vocabulary(["a"], [0]), ["a", ""]) == [0, 0]


def test_extreme_integers():
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    found = vocabulary([high, low + 1, 0], [3, 2, 1])
    assert lookup(found, [high, low + 1, 0, low, 1], tf.int64) == [1, 2, 3, 0, 0]


def test_keys_come_back_in_order():
    keys = np.array([5, -7, 3])
    np.testing.assert_array_equal(FingerprintLookup(keys).get_vocabulary(False), keys)


def test_two_hundred_thousand_ids_stay_outside_the_saved_graph(tmp_path):
    names = [f"item-{i:06d}" for i in range(200_000)]
    module = tf.Module()
    module.vocabulary = vocabulary(names, np.arange(200_000, 0, -1))
    module.run = tf.function(module.vocabulary, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    found = loaded.run(tf.constant([*names[::1000], "item-200000"])).numpy()
    np.testing.assert_array_equal(found, [*range(1, 200_001, 1000), 0])
    assert (tmp_path / "saved_model.pb").stat().st_size < 50_000


HOSTILE = ["b", "a\x00", "[UNK]", "it's", "猫\n", "a"]
PLAIN = [key for key in HOSTILE if "\0" not in key]


@pytest.mark.parametrize("make", [FingerprintLookup, keras_lookup])
@pytest.mark.parametrize("keys, unknown", [
    (HOSTILE, ["", "c"]), (PLAIN, ["", "c"]), ([7, -5, 0, 2**62], [-1, 3]), ([], ["", "c"]),
])
def test_numbers_size_and_what_a_file_keeps(make, keys, unknown, tmp_path):
    array = pa.array(keys, pa.large_string() if isinstance(unknown[0], str) else pa.int64())
    found, dtype = make(array), tf.string if isinstance(unknown[0], str) else tf.int64
    assert found.vocabulary_size() == len(found.get_vocabulary()) == len(keys) + 1
    with open(tmp_path / "state.npz", "wb") as file:
        np.savez(file, **lookup_state(found))
    with np.load(tmp_path / "state.npz", allow_pickle=False) as arrays:
        again = lookup_of(arrays)
    for one in (found, again):
        assert one(tf.constant([*keys, *unknown], dtype)).numpy().tolist() == [*range(1, len(keys) + 1), 0, 0]
    assert type(again) is type(found)
    keras = make is keras_lookup and keys not in ([], HOSTILE)
    assert isinstance(found, FingerprintLookup) != keras


@pytest.mark.parametrize("known, found", [
    (keras_lookup, keras_lookup), (FingerprintLookup, FingerprintLookup), (FingerprintLookup, keras_lookup),
])
def test_new_keys_come_after_those_that_are_known(known, found):
    both = grown(known(pa.array(["b", "a"])), found(pa.array(["c", "a", "d", "b"])), limit=3)
    assert both(tf.constant(["b", "a", "c", "d", ""])).numpy().tolist() == [1, 2, 3, 0, 0]
    both = grown(known(pa.array([5, 2])), found(pa.array([2, 9])))
    assert both(tf.constant([5, 2, 9, -1], tf.int64)).numpy().tolist() == [1, 2, 3, 0]


def test_a_new_key_that_keras_cannot_tell_apart_comes_after_the_others_too():
    both = grown(keras_lookup(pa.array(["b", "a"])), keras_lookup(pa.array(["a\0", "a"])))
    assert both(tf.constant(["b", "a", "a\0", "c"])).numpy().tolist() == [1, 2, 3, 0]


def test_a_checkpoint_knows_the_keys_by_the_names_of_0_1_0(tmp_path):
    module = tf.Module()
    module.vocabulary = FingerprintLookup(["b", "a"])
    path = tf.train.Checkpoint(root=module).save(tmp_path / "ckpt")
    names = [name for name, _ in tf.train.list_variables(path) if "vocabulary" in name]
    assert names == [f"vocabulary/{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in ("_index", "_keys")]


@pytest.mark.parametrize("data, size", [
    (["b", "a", "b", ""], 2), ([[4, 9], [9, -1]], 2), (tf.constant(["x"]), 1),
    (tf.data.Dataset.from_tensor_slices(["b", "a", "b"]).batch(2), 2),
])
def test_it_adapts_as_a_keras_layer_does(data, size):
    layer = FingerprintLookup()
    layer.adapt(data)
    assert layer.vocabulary_size() == size + 1


def test_it_lives_in_a_keras_model_and_its_file(tmp_path):
    layer = FingerprintLookup(["b", "a"])
    model = tf.keras.Sequential([tf.keras.Input([], dtype=tf.string), layer, tf.keras.layers.Embedding(3, 2)])
    expected = model(tf.constant(["a", "zz"]))
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(tf.constant(["a", "zz"])), expected)
    assert layer.trainable_weights == layer.non_trainable_weights == []


@pytest.mark.parametrize("feature, columns, raw", [
    (Category("brand"), {"brand": ["x", "y", "x"]}, ["y", "x", "zz", ""]),
    (MultiValue("genres"), {"genres": [["x"], ["y", "x"], []]}, [["x", "y"], ["zz", ""]]),
    (Text("title"), {"title": ["a cat", "a dog", "a"]}, ["dog cat", "a bird"]),
])
def test_a_run_of_0_1_0_kept_fingerprints_and_goes_on_with_them(feature, columns, raw):
    made, old = feature.build(0), feature.build(0)
    arrays = {name: pa.array(values) for name, values in columns.items()}
    made.adapt(arrays, np.ones(3, np.int64))
    keys = made.vocabulary.get_vocabulary(include_special_tokens=False)
    old.load_state({"dtype": np.array("string"), "keys": FingerprintLookup(keys).get_vocabulary(False)})
    (name,) = columns
    for _ in range(2):
        np.testing.assert_array_equal(*(f.encode({name: tf.constant(raw)})["index"] for f in (made, old)))
        more = {name: pa.array([*values, values[0], "zz new" if name != "genres" else ["zz"]])
                for name, values in columns.items()}
        for field in (made, old):
            field.grow(more, np.ones(5, np.int64))
    assert made.size == old.size == len(keys) + (2 if name == "title" else 1)
