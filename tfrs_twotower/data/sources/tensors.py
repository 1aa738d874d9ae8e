"""Batches of tensors as Arrow arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tfrs_twotower.errors import DataError


def to_arrow(tensor, label):
    """A tensor [n] or a ragged one [n, any], as an Arrow array of n values or lists.

    Bytes become text.
    """
    if hasattr(tensor, "row_splits"):
        values = to_arrow(tensor.values, label)
        return pa.ListArray.from_arrays(pa.array(np.asarray(tensor.row_splits), pa.int32()), values)
    array = np.asarray(tensor)
    if array.ndim != 1:
        raise DataError(f"{label} has the shape {list(array.shape)}. Use scalars or lists.")
    if array.dtype == object:
        return pa.array(array, pa.binary()).cast(pa.string())
    return pa.array(array)
