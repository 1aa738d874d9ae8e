"""The checks that all indexes share."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrs_twotower.errors import IndexingError, invalid


def candidate_vectors(vectors: np.ndarray) -> np.ndarray:
    """Returns `vectors` as float32 [n, dim]. Raises `IndexingError` unless n, dim ≥ 1 and all is finite."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or 0 in vectors.shape:
        raise IndexingError(
            invalid("vectors", "be a matrix [candidates, dim] with at least one row and column",
                    vectors.shape, "Pass one embedding per row.")
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        raise IndexingError(
            invalid("vectors", "be finite", f"{bad.size} rows with NaN or infinity, first row {bad[0]}",
                    "Look at that candidate's features or at the training run that made it.")
        )
    return vectors


def query_vectors(queries: np.ndarray | tf.Tensor, dim: int) -> tf.Tensor:
    """Returns `queries` as a float32 tensor [batch, dim]."""
    queries = tf.convert_to_tensor(queries, tf.float32)
    if not queries.shape.is_compatible_with([None, dim]):
        raise IndexingError(
            invalid("queries", f"have shape [batch, {dim}]", tuple(queries.shape),
                    "Use the query tower that was trained with these candidates.")
        )
    return tf.ensure_shape(queries, [None, dim])


def query_matrix(queries: np.ndarray, dim: int) -> np.ndarray:
    """Returns `queries` as float32 [batch, dim], for searches without TensorFlow. They have to be finite."""
    queries = np.ascontiguousarray(queries, np.float32)
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise IndexingError(
            invalid("queries", f"have shape [batch, {dim}]", queries.shape,
                    "Use the query tower that was trained with these candidates.")
        )
    if not np.isfinite(queries).all():
        raise IndexingError(invalid("queries", "be finite", "NaN or infinity", "Look at the query's features."))
    return queries


def neighbours(k: int | tf.Tensor) -> int | tf.Tensor:
    """Returns k as an int if it is known, else as an int32 scalar tensor; k ≥ 1."""
    known = tf.get_static_value(k)
    if known is not None:
        if np.ndim(known) or int(known) != known or known < 1:
            raise IndexingError(invalid("k", "be an integer of at least 1", known, "Ask for k ≥ 1."))
        return int(known)
    k = tf.cast(k, tf.int32)
    # The raw op: `tf.debugging.assert_positive` puts a conditional in the graph, a tenth of a fast search.
    rule = "`k` must be an integer of at least 1. Ask for k ≥ 1."
    with tf.control_dependencies([tf.raw_ops.Assert(condition=k >= 1, data=[rule, k])]):
        return tf.identity(k)


def at_least_one(argument: str, value: float) -> int:
    """Returns `value`. Raises `IndexingError` unless it is an integer of at least 1."""
    if int(value) != value or value < 1:
        raise IndexingError(invalid(argument, "be an integer of at least 1", value, "Raise it."))
    return int(value)


def checksum(vectors: np.ndarray) -> str:
    """SHA-256 of vectors, as 64 hex digits."""
    return hashlib.sha256(np.ascontiguousarray(vectors, np.float32).tobytes()).hexdigest()


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Says of an index's file or folder that it cannot be read, if the block, which reads it, fails.

    Raises:
      IndexingError: the block raises what broken files raise.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise IndexingError(
            f"{path} must hold an index as it was saved. It cannot be read: {error!r}. Build the index again by "
            "`twotower index RUN`, or the export by `twotower export RUN`."
        ) from error
