"""Arrow columns become raw tensors, with one sign for "missing" each."""

import math
from datetime import date, datetime, timezone

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.errors import DataError
from tfrs_twotower.features import to_tensor

import tensorflow as tf  # isort: skip

TEXT, WHOLE, NUMBER = (tf.TensorSpec([None], d) for d in (tf.string, tf.int64, tf.float32))
TEXTS, WHOLES = (tf.TensorSpec([None, None], d) for d in (tf.string, tf.int64))


def test_missing_values_by_type():
    assert to_tensor(pa.array(["a", None]), TEXT).numpy().tolist() == [b"a", b""]
    assert to_tensor(pa.array([7, None]), WHOLE).numpy().tolist() == [7, -1]
    value, missing = to_tensor(pa.array([1.5, None]), NUMBER).numpy().tolist()
    assert value == 1.5 and math.isnan(missing)


@pytest.mark.parametrize("column", [
    pa.chunked_array([["a"], ["b", "a"]]),
    pa.array(["a", "b", "a"]).dictionary_encode(),
    pa.array(["a", "b", "a"], pa.large_string()),
])
def test_texts_of_every_encoding(column):
    assert to_tensor(column, TEXT).numpy().tolist() == [b"a", b"b", b"a"]


def test_whole_numbers_stored_as_floats():
    """As pandas stores a column of integers that has a hole."""
    assert to_tensor(pa.array([3.0, float("nan"), None]), WHOLE).numpy().tolist() == [3, -1, -1]
    with pytest.raises(DataError, match="int64"):
        to_tensor(pa.array([3.5]), WHOLE)


def test_times_become_seconds_utc():
    moment = datetime(2023, 11, 14, 22, 13, 20, 900_000, tzinfo=timezone.utc)  # 1,700,000,000.9
    assert to_tensor(pa.array([moment, None]), WHOLE).numpy().tolist() == [1_700_000_000, -1]
    naive = pa.array([moment.replace(tzinfo=None)], pa.timestamp("ns"))
    assert to_tensor(naive, WHOLE).numpy().tolist() == [1_700_000_000]
    assert to_tensor(pa.array([date(1970, 1, 3)]), WHOLE).numpy().tolist() == [2 * 86400]


def test_lists_are_padded_at_the_end():
    column = pa.chunked_array([[["a", None], []], [None, ["b", "c", "d"]]])
    expected = [[b"a", b"", b""], [b"", b"", b""], [b"", b"", b""], [b"b", b"c", b"d"]]
    assert to_tensor(column, TEXTS).numpy().tolist() == expected
    assert to_tensor(pa.array([[5], [6, 7]]), WHOLES).numpy().tolist() == [[5, -1], [6, 7]]
    assert to_tensor(pa.array([[], None], pa.list_(pa.string())), TEXTS).shape == [2, 0]
    with pytest.raises(DataError, match="`genres` must hold lists"):
        to_tensor(pa.array(["a|b"]), TEXTS, "genres")


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float64()), pa.list_(pa.float32(), 2), pa.large_list(pa.float32())]
)
def test_vectors(kind):
    column = pa.array([[1.0, 2.0], None, [3.0, 4.0]], kind)
    found = to_tensor(column, tf.TensorSpec([None, 2], tf.float32))
    np.testing.assert_array_equal(found, [[1, 2], [0, 0], [3, 4]])


def test_vectors_of_different_lengths_are_an_error():
    column = pa.array([[1.0, 2.0], [1.0, 2.0, 3.0]])
    with pytest.raises(DataError, match="`v` must hold vectors of 2 values.*one of 3"):
        to_tensor(column, tf.TensorSpec([None, 2], tf.float32), "v")


def test_a_slice_is_read_as_a_slice():
    assert to_tensor(pa.array([["a"], ["b"], ["c"]])[1:], TEXTS).numpy().tolist() == [[b"b"], [b"c"]]
    found = to_tensor(pa.array([[1.0], [2.0], [3.0]])[2:], tf.TensorSpec([None, 1], tf.float32))
    assert found.numpy().tolist() == [[3.0]]
