"""Arrow columns → the raw tensors that a served model would receive, with the same missing values."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower.data.values import is_list, is_text
from tfrs_twotower.data.wide import one
from tfrs_twotower.errors import DataError
from tfrs_twotower.ids import missing_id, missing_value

_ARROW = {tf.string: pa.large_string(), tf.int64: pa.int64(), tf.float32: pa.float32()}


def to_tensor(array: pa.Array | pa.ChunkedArray, spec: tf.TensorSpec, column: str = "?") -> tf.Tensor:
    """One column as a raw tensor.

    Args:
      array: `pa.Array` or `pa.ChunkedArray` of n rows.
      spec: a `tf.TensorSpec` of `Field.inputs`: shape [None] for one value per row, [None, None] for one
        list per row, [None, d] float32 for one vector per row.
      column: the column's name, for messages.

    Returns:
      [n], or [n, longest list] padded at the end, or [n, d]. A missing text is "", a missing integer or
      time −1, a missing number NaN, a missing list empty, a missing vector zeros. Arrow times become
      seconds since 1970, UTC.

    Raises:
      DataError: the column's type does not fit `spec`.
    """
    array = flat(array)
    if len(spec.shape) == 1:
        return tf.constant(_values(array, spec.dtype, column), spec.dtype)
    if spec.shape[1] is not None:
        return tf.constant(_vectors(array, spec.shape[1], column))
    lengths = list_lengths(array, column)
    width = int(lengths.max(initial=0))
    values = _values(array.flatten(), spec.dtype, column)
    padded = np.full((len(array), width), missing_value(spec.dtype), values.dtype)
    padded[np.arange(width) < lengths[:, None]] = values
    return tf.constant(padded, spec.dtype)


def key_tensor(array: pa.Array | pa.ChunkedArray, column: str) -> tf.Tensor:
    """A column of ids or categories as a raw tensor of its `key_dtype`: [n], or [n, longest list] of lists of them."""
    shape = [None, None] if is_list(array.type) else [None]
    return to_tensor(array, tf.TensorSpec(shape, key_dtype(array, column)), column)


def flat(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one array, without dictionary encoding."""
    array = one(array)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def key_dtype(array: pa.Array | pa.ChunkedArray, column: str) -> tf.DType:
    """`tf.string` or `tf.int64`: the dtype of a column of ids or categories (or of lists of them).

    Raises:
      DataError: neither text nor whole numbers.
    """
    kind = array.type
    if is_list(kind):
        kind = kind.value_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if is_text(kind) or pa.types.is_null(kind):
        return tf.string
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return tf.int64
    raise DataError(f"Column `{column}` must hold text or whole numbers. Received: {kind}. Convert it.")


def list_lengths(array: pa.Array, column: str) -> np.ndarray:
    """int64 [n]: the length of each row's list; 0 for a missing one.

    Raises:
      DataError: names `column` if it holds no lists.
    """
    if not is_list(array.type):
        way_out = "Split texts into lists first."
        raise DataError(f"Column `{column}` must hold lists. Received: {array.type}. {way_out}")
    return pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)


def present(keys: pa.Array) -> np.ndarray:
    """bool [n]: which of the (flat) keys are neither null nor the missing id."""
    missing = pa.scalar(missing_id(str if is_text(keys.type) else int), keys.type)
    known = pc.fill_null(pc.not_equal(keys, missing), False)
    return known.to_numpy(zero_copy_only=False)


def cast(array: pa.Array, dtype: tf.DType, column: str) -> pa.Array:
    """A flat array as Arrow's large_string, int64 or float32.

    Raises:
      DataError: names `column` if values would be lost.
    """
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("s"))
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp("s", array.type.tz), safe=False)
        array = array.cast(pa.int64())
    if pa.types.is_floating(array.type) and dtype == tf.int64:
        array = pc.if_else(pc.is_finite(array), array, None)
    try:
        return array.cast(_ARROW[dtype], safe=dtype != tf.float32)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        message = f"Column `{column}`, of {array.type}, cannot be read as {dtype.name}: {error}."
        raise DataError(message + " Convert it, or declare another feature for it.") from error


def _values(array: pa.Array, dtype: tf.DType, column: str) -> np.ndarray:
    array = flat(array)
    array = pc.fill_null(cast(array, dtype, column), pa.scalar(missing_value(dtype), _ARROW[dtype]))
    values = array.to_numpy(zero_copy_only=False)
    return values.astype(object) if dtype == tf.string else values


def _vectors(array: pa.Array, dim: int, column: str) -> np.ndarray:
    lengths = list_lengths(array, column)
    given = lengths > 0
    if not (lengths[given] == dim).all():
        wrong = int(lengths[given][lengths[given] != dim][0])
        received = f"Received: one of {wrong}. Make them equally long."
        raise DataError(f"Column `{column}` must hold vectors of {dim} values. {received}")
    vectors = np.zeros((len(array), dim), np.float32)
    vectors[given] = _values(array.flatten(), tf.float32, column).reshape(-1, dim)
    return np.nan_to_num(vectors, posinf=0.0, neginf=0.0)
