"""Rows of the log and of its entity tables, encoded once before training."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog, wide
from tfrs_twotower.features import to_tensor

_ENCODE_ROWS = 65_536  # rows encoded at a time, so that a large table is never in memory as strings


def encode_table(
    encode: Callable[[dict[str, tf.Tensor]], Mapping[str, tf.Tensor]], table: pa.Table,
    specs: Mapping[str, tf.TensorSpec],
) -> dict[str, np.ndarray]:
    """The rows of an Arrow table by one field's `encode`: a dict of arrays [rows, ...]."""
    parts = []
    for start in range(0, max(table.num_rows, 1), _ENCODE_ROWS):
        piece = table.slice(start, _ENCODE_ROWS)
        parts.append(encode({name: to_tensor(piece[name], spec, name) for name, spec in specs.items()}))
    return {key: _join([np.asarray(part[key]) for part in parts]) for key in parts[0]}


def _join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenates arrays whose second axis (a padded list) may differ in width; it pads with the padding value."""
    if arrays[0].ndim < 2:
        return np.concatenate(arrays)
    width = max(a.shape[1] for a in arrays)
    kind = arrays[0].dtype
    padding = b"" if kind == object else -1 if np.issubdtype(kind, np.integer) else 0
    return np.concatenate([
        np.pad(a, [(0, 0), (0, width - a.shape[1])] + [(0, 0)] * (a.ndim - 2), constant_values=padding)
        for a in arrays
    ])


def event_table(
    log: InteractionLog, names: Iterable[str], rows: np.ndarray | Sequence[int] | None = None
) -> pa.Table:
    """The query columns of log rows (all of them by default): an Arrow table."""
    rows = np.arange(len(log.user)) if rows is None else np.asarray(rows)

    def column(name: str) -> pa.Array | pa.ChunkedArray:
        if name == c.TIMESTAMP:
            return pa.array(log.timestamp[rows])
        if name in log.users.column_names:
            return wide.take(log.users[name], log.user[rows])
        return wide.take(log.context[name], rows)

    return pa.table({name: column(name) for name in names})
