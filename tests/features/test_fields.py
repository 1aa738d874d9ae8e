"""Values by hand of the fields that read one value a row."""

import math

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.errors import DataError
from tfrs_twotower.features import Category, Cross, Id, Number, Schema, Time, Vector, build_fields
from tfrs_twotower.features.fields import field as fields
from tfrs_twotower.features.fields.field import UniformTable, weights_loaded_next

import tensorflow as tf  # isort: skip


def field(feature, table, counts=None, seed=0):
    """The adapted field of one feature."""
    _, (made,) = build_fields(Schema(query=(Id("user_id"),), candidate=(feature,)), seed)
    table = {name: pa.array(values) for name, values in table.items()}
    rows = len(next(iter(table.values())))
    made.adapt(table, np.ones(rows, np.int64) if counts is None else np.array(counts))
    return made


def encode(made, **raw):
    return made.encode({name: tf.constant(values, made.inputs()[name].dtype) for name, values in raw.items()})


def index(made, **raw):
    return encode(made, **raw)["index"].numpy().tolist()


def test_id_of_strings_and_of_integers():
    made = field(Id("item_id"), {"item_id": ["a", "b", "c"]}, [1, 3, 2])
    assert index(made, item_id=["b", "c", "a", "?", ""]) == [1, 2, 3, 0, 0]
    made = field(Id("item_id"), {"item_id": [7, 8, 9]}, [1, 3, 0])
    assert made.inputs() == {"item_id": tf.TensorSpec([None], tf.int64)}
    assert index(made, item_id=[8, 7, 9, -1]) == [1, 2, 0, 0]


def test_an_id_that_only_test_events_have_is_unknown():
    made = field(Id("item_id"), {"item_id": ["train", "test"]}, [4, 0])
    assert index(made, item_id=["train", "test"]) == [1, 0]
    assert made.rows == 2


def test_id_min_count():
    made = field(Id("item_id", min_count=3), {"item_id": ["a", "b"]}, [3, 2])
    assert index(made, item_id=["a", "b"]) == [1, 0]


@pytest.mark.parametrize("ids, missing", [(["a", "b"], ""), ([1, 2], -1)])
def test_hashed_id_needs_no_vocabulary(ids, missing):
    made = field(Id("item_id", buckets=1000), {"item_id": ids}, [1, 0])
    first, second, again, none = index(made, item_id=[*ids, ids[0], missing])
    assert first == again != second
    assert 1 <= min(first, second) and max(first, second) <= 1000 and none == 0
    assert made.rows == 1001


def test_id_is_its_row_and_training_shows_row_0_in_place_of_a_share():
    made = field(Id("item_id", dim=4, dropout=0.25), {"item_id": ["a"]})
    encoded = {"index": tf.ones(4000, tf.int32)}
    np.testing.assert_array_equal(made(encoded), np.tile(made.table[1], [4000, 1]))
    trained = made(encoded, training=True).numpy()
    unknown = (trained == made.table[0].numpy()).all(axis=1)
    known = (trained == made.table[1].numpy()).all(axis=1)
    assert (unknown ^ known).all()
    assert unknown.mean() == pytest.approx(0.25, abs=0.03)  # four standard errors


def test_id_dropout_is_replayed_from_a_checkpoint(tmp_path):
    made = field(Id("item_id", dropout=0.5), {"item_id": ["a"]})
    encoded = {"index": tf.ones(64, tf.int32)}
    run = tf.function(lambda: made(encoded, training=True))
    run()
    path = tf.train.Checkpoint(field=made).write(str(tmp_path / "c"))
    first, second = run().numpy(), run().numpy()
    assert (first != second).any()
    tf.train.Checkpoint(field=made).read(path).assert_consumed()
    np.testing.assert_array_equal(run(), first)
    np.testing.assert_array_equal(run(), second)


def test_equal_seeds_give_equal_weights():
    first, second, other = (field(Id("item_id"), {"item_id": ["a"]}, seed=s) for s in (1, 1, 2))
    encoded = {"index": tf.constant([0, 1])}
    np.testing.assert_array_equal(first(encoded), second(encoded))
    assert (first(encoded).numpy() != other(encoded).numpy()).all()
    assert np.abs(first.table).max() <= 0.05


def test_category_with_missing_in_training():
    made = field(Category("item_id"), {"item_id": ["x", None, "y", "y"]})
    assert index(made, item_id=["y", "x", "", "z"]) == [1, 2, 0, 0]
    with pytest.raises(DataError, match="`item_id` must hold text or whole numbers"):
        field(Category("item_id"), {"item_id": [{"a": 1}]})


def test_cross_tells_combinations_apart():
    made = field(Cross(("a", "b"), buckets=10_000), {"a": ["x"], "b": [1]})
    assert made.inputs() == {"a": tf.TensorSpec([None], tf.string), "b": tf.TensorSpec([None], tf.int64)}
    rows = index(made, a=["x", "x", "x1", "x", "", "x"], b=[1, 11, 1, 1, 1, -1])
    assert rows[0] == rows[3] and len({rows[0], rows[1], rows[2]}) == 3
    assert rows[4:] == [0, 0]
    assert all(1 <= row <= 10_000 for row in rows[:4])


def test_number_normalised_by_training_events():
    # Rows 2, 5 and 100 with 3, 1 and 0 events: mean 11/4, variance 27/16.
    made = field(Number("p"), {"p": [2.0, 5.0, 100.0, None]}, [3, 1, 0, 9])
    encoded = encode(made, p=[2.75, 5.0, float("nan"), float("inf")])
    np.testing.assert_allclose(encoded["value"], [0, 2.25 / math.sqrt(27 / 16), 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(encoded["missing"], [0, 0, 1, 1])
    vectors = made(encoded).numpy()
    kernel = made.trainable_weights[0].numpy()
    np.testing.assert_array_equal(vectors[0], 0)
    np.testing.assert_allclose(vectors[1], math.sqrt(3) * kernel[0], rtol=1e-5)
    np.testing.assert_allclose(vectors[2], kernel[1])


@pytest.mark.parametrize("unit", [1e-30, 1e-9, 1e9, 1e25])
def test_a_number_of_any_unit_is_normalised(unit):
    made = field(Number("p"), {"p": [unit, 3 * unit]})  # mean 2, deviation 1
    np.testing.assert_allclose(encode(made, p=[unit, 2 * unit, 5 * unit])["value"], [-1, 0, 3], atol=1e-5)


def test_a_number_of_texts_is_an_error_that_names_the_column():
    with pytest.raises(DataError, match="`p`.*string.*float32"):
        field(Number("p"), {"p": ["cheap"]})


def test_number_log1p_keeps_the_sign():
    made = field(Number("p", "log1p"), {"p": [0.0, math.e - 1]})  # logs 0 and 1: mean 1/2, deviation 1/2
    value = encode(made, p=[0.0, math.e - 1, 1 - math.e])["value"]
    np.testing.assert_allclose(value, [-1, 1, -3], rtol=1e-5)


@pytest.mark.parametrize("values", [[3.0, 3.0], [None, None]])
def test_number_without_spread(values):
    made = field(Number("p"), {"p": pa.array(values, pa.float64())})
    assert np.isfinite(encode(made, p=[3.0, 4.0])["value"]).all()


def test_number_in_bins_of_equally_many_events():
    made = field(Number("p", "bucketise", bins=2), {"p": [float(i) for i in range(1, 11)]})
    assert index(made, p=[-9.0, 5.0, 6.0, 99.0, float("nan")]) == [1, 1, 2, 2, 0]
    assert made.rows == 3
    # Nine tenths of the events have one value, so only one boundary is left of three.
    made = field(Number("p", "bucketise", bins=4), {"p": [1.0, 2.0]}, [1, 9])
    assert index(made, p=[1.0, 2.0]) == [1, 2]


def test_time_parts():
    newest = 1_700_000_000  # Tuesday 14 November 2023, 22:13:20 UTC
    made = field(Time("t", ("hour", "weekday", "recency")), {"t": [newest, newest + 99]}, [1, 0])
    encoded = encode(made, t=[newest, newest - 3 * 86400, newest + 86400, 3 * 86400, 0])
    assert encoded["hour"].numpy().tolist()[:4] == [22, 22, 22, 0]
    assert encoded["weekday"].numpy().tolist()[:4] == [1, 5, 2, 6]  # day 3 of 1970 was a Sunday
    np.testing.assert_allclose(encoded["recency"][:3], [0, math.log(4), 0], rtol=1e-6)
    assert encoded["present"].numpy().tolist() == [1, 1, 1, 1, 0]
    vectors = made(encoded).numpy()
    hour, weekday, recency = (w.numpy() for w in made.trainable_weights)
    np.testing.assert_allclose(vectors[1], hour[22] + weekday[5] + math.log(4) * recency[0], rtol=1e-5)
    np.testing.assert_array_equal(vectors[4], 0)


def test_vector_frozen_is_projected():
    made = field(Vector("v", dim=3), {"v": [[1.0, 2.0], None]})
    encoded = encode(made, v=[[1.0, 2.0], [0.0, 0.0], [float("nan"), 1.0]])
    vectors = made(encoded).numpy()
    (kernel,) = made.trainable_weights
    np.testing.assert_allclose(vectors[0], np.array([1.0, 2.0]) @ kernel.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(vectors[1], 0)
    np.testing.assert_allclose(vectors[2], kernel[1])


def test_vector_trained_starts_as_given_and_moves_only_its_entity():
    table = {"v": [[1.0, 0.0], [0.0, 1.0]], "item_id": ["a", "b"]}
    made = field(Vector("v", trainable=True, dim=2), table, [1, 0])
    encoded = encode(made, v=[[1.0, 0.0], [0.0, 1.0]], item_id=["a", "b"])
    assert encoded["index"].numpy().tolist() == [1, 0]
    before = made(encoded).numpy()
    corrections, kernel = (w.numpy() for w in made.trainable_weights)
    np.testing.assert_array_equal(before, kernel)
    made.trainable_weights[0].assign(np.full_like(corrections, 10.0))
    np.testing.assert_allclose(made(encoded)[0], kernel[0] + 10 * kernel.sum(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(made(encoded)[1], before[1])


def test_vector_column_without_vectors():
    with pytest.raises(DataError, match="`v` must hold vectors"):
        field(Vector("v"), {"v": pa.array([None, None], pa.list_(pa.float32()))})


def test_a_large_table_is_drawn_in_place(monkeypatch):
    monkeypatch.setattr(fields, "LARGE", 8)
    table, same, other = (
        field(Id("item_id"), {"item_id": ["a"]}, seed=seed).new_embedding(1000, 4).embeddings.numpy()
        for seed in (3, 3, 4)
    )
    assert abs(table).max() <= 0.05 and 0.027 < table.std() < 0.031  # 0.05 / √3 = .029
    np.testing.assert_array_equal(table, same)
    assert (table != other).any(axis=1).all()
    monkeypatch.setattr(fields, "LARGE", 8000)
    small = field(Id("item_id"), {"item_id": ["a"]}, seed=3).new_embedding(1000, 4).embeddings
    np.testing.assert_array_equal(table, small)


def test_a_part_of_a_large_table_is_drawn_for_itself():
    draw = UniformTable(3)
    part = draw((1000, 4), tf.float32, partition_shape=(500, 4), partition_offset=(500, 0))
    assert part.shape == (500, 4) and (part.numpy() != draw((1000, 4)).numpy()[:500]).all()


def test_a_table_whose_weights_are_loaded_next_is_zeros():
    made = field(Id("item_id"), {"item_id": ["a"]})
    with weights_loaded_next():
        loaded = made.new_embedding(1000, 4).embeddings.numpy()
    assert not loaded.any()
    assert np.count_nonzero(made.new_embedding(1000, 4).embeddings.numpy()) > 3900
