"""Batches of tensors as Arrow arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tfrs_twotower.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf


def to_arrow(tensor: tf.Tensor | tf.RaggedTensor, label: str) -> pa.Array:
    """A tensor [n] or a ragged one [n, any], as an Arrow array of n values or lists.

    Bytes become text. Bytes that are not UTF-8, and other shapes, are a `DataError`.
    """
    if hasattr(tensor, "row_splits"):
        values = to_arrow(tensor.values, label)
        return pa.ListArray.from_arrays(pa.array(np.asarray(tensor.row_splits), pa.int32()), values)
    array = np.asarray(tensor)
    if array.ndim != 1:
        raise DataError(f"{label} has the shape {list(array.shape)}. Use scalars or lists.")
    if array.dtype == object:
        try:
            return pa.array(array, pa.binary()).cast(pa.string())
        except pa.ArrowInvalid as error:
            raise DataError(f"{label} holds bytes that are no UTF-8 text. Leave it out.") from error
    return pa.array(array)
