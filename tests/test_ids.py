"""Which ids there are, which one is none, and that every place which says so agrees."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tfrs_twotower.data import values
from tfrs_twotower.features import is_missing, key_tensor
from tfrs_twotower.features.tensors import present, to_tensor
from tfrs_twotower.ids import as_number, id_type, is_missing_id, missing_id, missing_value


@pytest.mark.parametrize("kind, missing", [(str, ""), (tf.string, ""), (int, -1), (tf.int64, -1), (tf.int32, -1)])
def test_the_missing_id_of_each_type(kind, missing):
    assert missing_id(kind) == missing and is_missing_id(missing)


def test_the_missing_value_of_each_type_of_a_feature():
    assert missing_value(tf.string) == "" and missing_value(tf.int64) == -1 and np.isnan(missing_value(tf.float32))
    assert missing_value(tf.int32) is None


@pytest.mark.parametrize("value, none", [
    (None, True), ("", True), (-1, True), ("-1", True), (0, False), ("0", False), (" ", True), (-2, False),
    ("-1.0", True), (" -1", True), ("NULL", True), ("nan", True), ("-2", False), ("Nan", False), (-1.0, True),
])
def test_what_is_no_id_in_python(value, none):
    assert is_missing_id(value) is none


@pytest.mark.parametrize("array, ids", [
    (pa.array(["a", None, ""]), ["a", "", ""]), (pa.array([7, None, -1]), [7, -1, -1]),
    (pa.chunked_array([pa.array(["a", None, ""]).dictionary_encode()]), ["a", "", ""]),
])
def test_a_column_of_ids_and_its_tensor_miss_the_same(array, ids):
    tensor = key_tensor(array, "item_id")
    assert [i.decode() if isinstance(i, bytes) else i for i in tensor.numpy().tolist()] == ids
    assert is_missing(tensor).numpy().tolist() == [False, True, True]
    assert id_type(tensor.dtype) is type(ids[0])
    if isinstance(array, pa.Array):
        assert present(array).tolist() == [True, False, False]


def test_lists_of_ids_are_padded_with_the_missing_one():
    assert key_tensor(pa.array([[1, 2], None, [3]]), "x").numpy().tolist() == [[1, 2], [-1, -1], [3, -1]]
    numbers = to_tensor(pa.array([1.5, None]), tf.TensorSpec([None], tf.float32)).numpy()
    assert numbers[0] == 1.5 and np.isnan(numbers[1])


def test_ingestion_keeps_exactly_the_texts_that_are_ids():
    texts = ["a", "-1", "-1.0", " -1 ", "-2", "", " ", "NULL", "None", "none", "nan", "0", "NA ", "\\N"]
    kept = values.ids(pa.array(texts), "item_id")[0].to_pylist()
    assert kept == [None if is_missing_id(text) else text for text in texts]


def test_numbers_as_text():
    assert [as_number(value) for value in ("7", 7, "007", " -3 ")] == [7, 7, 7, -3]
    for wrong in ("1_0", "7.0", "", 2**63):
        with pytest.raises(ValueError, match="no whole number"):
            as_number(wrong)
