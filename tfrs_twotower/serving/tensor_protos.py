"""Converts between NumPy arrays and TensorProtos as TF Serving writes them on the wire."""

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tfrs_twotower.serving.errors import InvalidArgument

# TF Serving answers with typed fields, not with `tensor_content`. Clients read the fields by name.
_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int8: "int_val",
    tf.uint8: "int_val",
    tf.int16: "int_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}
_READ = {**_FIELDS, tf.float16: "half_val", tf.bfloat16: "half_val"}


def shape_of(proto: tensor_pb2.TensorProto) -> list[int]:
    """The shape that a TensorProto claims, as a list. Raises `InvalidArgument` if it claims none."""
    if proto.tensor_shape.unknown_rank or any(d.size < 0 for d in proto.tensor_shape.dim):
        raise InvalidArgument("A tensor must state its whole shape. Received a tensor of unknown shape.")
    return [d.size for d in proto.tensor_shape.dim]


def to_array(proto: tensor_pb2.TensorProto) -> np.ndarray:
    """The array of a TensorProto. Raises `InvalidArgument` if it has none, or its values do not fit its shape.

    TensorFlow would repeat the last value of a TensorProto with too few values: 86 bytes could claim any memory.
    """
    try:
        dtype, size = tf.as_dtype(proto.dtype), math.prod(shape_of(proto))
        field = _READ.get(dtype)
        if field is None:  # variants, resources, and types that no signature of ours takes
            raise InvalidArgument(f"A tensor must hold numbers, booleans or strings. Received: {dtype.name}.")
        given, whole = len(getattr(proto, field)), size
        if proto.tensor_content:
            given, whole = len(proto.tensor_content), size * dtype.size
        if given != whole:
            raise ValueError(f"a shape of {size} values needs {whole} in its field, and {given} came")
        return tf.make_ndarray(proto)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InvalidArgument):  # it is a ValueError
            raise
        raise InvalidArgument(f"A tensor's values do not fit its type and shape: {error}. Send each value.") from error


def from_array(array: np.ndarray, dtype: tf.DType) -> tensor_pb2.TensorProto:
    """The TensorProto of an array whose TensorFlow type is `dtype`."""
    if dtype not in _FIELDS:
        return tf.make_tensor_proto(array, dtype)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, _FIELDS[dtype]).extend(array.ravel().tolist())
    return proto
