"""Columns of 2 GiB or more.

Arrow's `string` and `list` have offsets of 32 bits, so one array of them is shorter than that. A longer column is
`large_string` or `large_list`. A shorter one keeps its type.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

MOST = 2**31  # bytes


def one(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A single pa.Array; `widened` if it has to be."""
    if isinstance(array, pa.ChunkedArray):
        array = widened(array)
        return pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return array


def widened(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column; from 2 GiB on as `large_string` or `large_list`, because one `string` array cannot hold it."""
    return column if column.nbytes < MOST else column.cast(_wide(column.type))


def _wide(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.large_list(_wide(kind.value_type))
    return pa.large_string() if pa.types.is_string(kind) else kind


def whole(table: pa.Table) -> pa.Table:
    """The table with one chunk a column; `widened` if it has to be."""
    for place, name in enumerate(table.column_names):
        table = table.set_column(place, name, widened(table[name]))
    return table.combine_chunks()


def take(column: pa.ChunkedArray, rows: np.ndarray) -> pa.ChunkedArray:
    """Some rows of a column, int [any], in their order; `large_string` or `large_list` if they are too long.

    The chunks of a column of 2 GiB or more are not joined, so a few rows of it cost little.
    """
    kind = _wide(column.type)
    if column.nbytes < MOST or column.type == kind:
        try:
            return column.take(pa.array(rows))
        except pa.ArrowInvalid:  # a long text is taken many times
            return column.cast(kind).take(pa.array(rows))
    starts = np.cumsum([0, *map(len, column.chunks)])
    chunks = np.searchsorted(starts, rows, side="right") - 1
    order = np.argsort(chunks, kind="stable")
    there, first = np.unique(chunks[order], return_index=True)
    parts = [column.chunk(i).cast(kind).take(pa.array(part - starts[i]))
             for i, part in zip(there, np.split(rows[order], first[1:]))]
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return pa.chunked_array(parts, kind).take(pa.array(back))
