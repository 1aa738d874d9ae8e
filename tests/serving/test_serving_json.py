"""The JSON of a request as arrays: what is missing, what is true, and columns that TensorFlow knows by another name."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.serving import json_tensors
from tfrs_twotower.serving.errors import InvalidArgument, ResourceExhausted
from tfrs_twotower.serving.signature import Signature


@pytest.fixture
def signature():
    """A signature that returns what it gets, by the names that it gets."""
    inputs = {
        "Product Type": tf.TensorSpec([None], tf.string, "Product Type"), "n": tf.TensorSpec([None], tf.int64, "n"),
        "x": tf.TensorSpec([None], tf.float32, "x"), "tags": tf.TensorSpec([None, None], tf.string, "tags"),
    }
    return Signature("s", inputs, {}, {}, lambda **tensors: tensors, columns={"Product_Type": "Product Type"})


def test_null_is_a_missing_value(signature):
    rows = [{"Product Type": None, "n": 1, "x": None, "tags": None}, {"Product Type": "a", "n": None, "x": 2.5,
                                                                      "tags": ["p", None]}]
    arrays, by_row = json_tensors.decode({"instances": rows}, signature)
    assert by_row and arrays["Product Type"].tolist() == [b"", b"a"] and arrays["n"].tolist() == [1, -1]
    np.testing.assert_array_equal(arrays["x"], np.array([np.nan, 2.5], np.float32))
    assert arrays["tags"].tolist() == [[b"", b""], [b"p", b""]]


def test_a_truth_value_is_a_whole_number_and_no_other(signature):
    arrays, _ = json_tensors.decode({"inputs": {"n": [True, False]}}, signature)
    assert arrays["n"].tolist() == [1, 0]
    with pytest.raises(InvalidArgument, match="`x` must be float32"):
        json_tensors.decode({"inputs": {"x": [True]}}, signature)


def test_a_column_has_its_own_name_and_the_one_that_tensorflow_knows(signature):
    assert signature.spec("Product_Type").name == signature.spec("Product Type").name == "Product Type"
    kind, number = tf.constant(["a"]), tf.constant([2])
    assert signature({"Product Type": kind, "n": number}) == {"Product_Type": kind, "n": number}
    assert signature({"Product Type": np.array([b"a"], object)})["Product_Type"].dtype == tf.string
    with pytest.raises(InvalidArgument, match="no input `Product Typ`. Did you mean `Product Type`"):
        signature.spec("Product Typ")


@pytest.mark.parametrize("request_of", [lambda rows: {"instances": rows}, lambda rows: {"inputs": {"tags": rows}}])
def test_a_size_is_checked_before_the_values_are_looked_at(signature, request_of):
    class Unread(list):
        """Fails whoever goes through it."""

        def __len__(self):
            return 10**9

        def __iter__(self):
            yield []
            raise AssertionError("looked at")

    def check(spec, shape):
        assert shape[0] == 10**9
        raise ResourceExhausted(spec.name)

    with pytest.raises(ResourceExhausted, match="tags|instances"):
        json_tensors.decode(request_of(Unread()), signature, check)


def test_an_empty_body_is_said():
    with pytest.raises(InvalidArgument, match="has no body"):
        json_tensors.parse(b" ", 7)


@pytest.mark.parametrize("many", [b"[[],[],[]]", b"[[[[[[]]]]]]", b'{"a":1,"b":2,"c":3,"d":4,"e":5}'])
def test_a_body_of_many_small_values_is_refused_unread(many):
    assert list(json_tensors.parse(b'{"x":' + many + b"}", 7)) == ["x"]
    with pytest.raises(ResourceExhausted, match="at most 5 values"):
        json_tensors.parse(b'{"x":' + many + b"}", 5)


@pytest.mark.parametrize("by_row, expected", [
    (False, b'{"outputs":{"count":[7,-1],"ids":[["a",{"b64":"/w=="}],["\xc3\xa9",""]],'
            b'"scores":[[0.2,null],[-3.5,null]]}}'),
    (True, b'{"predictions":[{"count":7,"ids":["a",{"b64":"/w=="}],"scores":[0.2,null]},'
           b'{"count":-1,"ids":["\xc3\xa9",""],"scores":[-3.5,null]}]}'),
])
def test_an_answer_by_hand(by_row, expected):
    """A float32 has the digits of a float32, broken text is base64, and what is not finite is null."""
    ids = np.array([[b"a", b"\xff"], ["é".encode(), b""]], object)
    scores = np.array([[0.2, np.nan], [-3.5, np.inf]], np.float32)
    outputs = {"scores": scores, "ids": ids, "count": np.array([7, -1], np.int64)}
    assert json_tensors.encode(outputs, by_row) == expected


@pytest.mark.parametrize("array, expected", [
    (np.float32(0.1), b"0.1"), (np.array(0.1, np.float32), b"0.1"), (np.array(5), b"5"), (np.array(True), b"true"),
    (np.array(b"x", object), b'"x"'), (np.zeros((1, 0), np.float32), b"[[]]"), (np.zeros((0, 2), np.int64), b"[]"),
    (np.array([0.1]), b"[0.1]"), (np.array([0.1], np.float16), b"[0.099975586]"),
    (np.array([2**63 - 1, -(2**63)]), b"[9223372036854775807,-9223372036854775808]"),
    (np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::2], b"[[0.0,2.0],[3.0,5.0]]"),
])
def test_an_answer_of_any_shape_and_type(array, expected):
    assert json_tensors.encode({"x": np.asarray(array)}, by_row=False) == b'{"outputs":%b}' % expected
