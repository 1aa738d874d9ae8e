"""NumPy arrays and TensorProtos, as TF Serving writes them on the wire."""

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tfrs_twotower.serving.errors import InvalidArgument

# TF Serving answers with typed fields, not with `tensor_content`, and clients read them by name.
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


def shape_of(proto: tensor_pb2.TensorProto) -> list[int]:
    """The shape that a TensorProto claims, as a list. Raises `InvalidArgument` when it claims none."""
    if proto.tensor_shape.unknown_rank or any(d.size < 0 for d in proto.tensor_shape.dim):
        raise InvalidArgument("A tensor must state its whole shape. Received a tensor of unknown shape.")
    return [d.size for d in proto.tensor_shape.dim]


def to_array(proto: tensor_pb2.TensorProto) -> np.ndarray:
    """The array of a TensorProto. Raises `InvalidArgument` when it has none, or its values do not fit its shape."""
    try:
        return tf.make_ndarray(proto)
    except KeyError as error:  # variants and resources
        name = tf.as_dtype(proto.dtype).name
        raise InvalidArgument(f"A tensor must hold numbers, booleans or strings. Received: {name}.") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgument(f"A tensor's values do not fit its type and shape: {error}") from error


def from_array(array: np.ndarray, dtype: tf.DType) -> tensor_pb2.TensorProto:
    """The TensorProto of an array whose TensorFlow type is `dtype`."""
    if dtype not in _FIELDS:
        return tf.make_tensor_proto(array, dtype)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, _FIELDS[dtype]).extend(array.ravel().tolist())
    return proto
