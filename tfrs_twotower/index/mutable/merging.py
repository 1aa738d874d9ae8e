"""The search over one view: the main index without its tombstones, the overlay exactly, and both together."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfrs_twotower.index.candidate_index import CandidateIndex, TopK
from tfrs_twotower.index.mutable.segment import Rows

_SCORES = 1 << 24  # scores of one part of the queries against the overlay: 64 MB
_SLACK = 16  # fetched besides, so that a few tombstones among the best need no second search


def searcher(index: CandidateIndex) -> Callable[[np.ndarray, int], TopK]:
    """(queries, k) → `TopK` of an index, ready to be called often."""
    if not isinstance(index, tf.Module):
        return index.search
    # Traced once for every k. Outside of a graph, ScaNN would make its searcher anew in each call.
    return tf.function(
        lambda queries, k: index.search(queries, k),
        input_signature=[tf.TensorSpec([None, index.dim]), tf.TensorSpec([], tf.int32)], autograph=False,
    )


def main_best(
    search: Callable[[np.ndarray, int], TopK] | None, rows: Rows, moment: int, dead: int, queries: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """(scores, row numbers) [batch, ≤ k] of the main index, without what is dead; −inf and −1 behind the last.

    search: of an index over `rows`, or None. dead: how many of its rows are dead at `moment`.
    """
    batch = len(queries)
    if search is None or dead >= rows.count:
        return np.full((batch, 0), -np.inf, np.float32), np.full((batch, 0), -1, np.int64)
    wanted = min(k, rows.count - dead)
    fetch = min(k, rows.count) if not dead else min(rows.count, wanted + min(dead, wanted + _SLACK))
    while True:
        found = search(queries, fetch)
        scores, at = np.asarray(found.scores), np.asarray(found.rows).astype(np.int64)
        there = (at >= 0) & (rows.died[np.maximum(at, 0)] > moment)
        if not dead or fetch == rows.count or np.all(there.sum(axis=1) >= wanted):
            return best(np.where(there, scores, -np.inf), np.where(there, at, -1), k)
        fetch = min(rows.count, 4 * fetch)


def overlay_best(rows: Rows, moment: int, queries: np.ndarray, k: int) -> tuple[np.ndarray, ...]:
    """(scores, row numbers) [batch, ≤ k] of a segment, exactly."""
    batch, count = len(queries), rows.count
    alive = rows.alive(moment)
    part = max(1, _SCORES // max(1, count))
    found = [_exact(rows, alive, queries[i:i + part], k) for i in range(0, batch, part)] if count else []
    if not found:
        return np.full((batch, 0), -np.inf, np.float32), np.full((batch, 0), -1, np.int64)
    return tuple(np.concatenate(values) for values in zip(*found))


def best(scores: np.ndarray, at: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest of each row, descending, the earlier column first among equals; −1 beside −inf."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    scores = np.take_along_axis(scores, order, axis=1)
    return scores, np.where(np.isneginf(scores), -1, np.take_along_axis(at, order, axis=1))


def _exact(rows: Rows, alive: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = queries @ rows.vectors[:rows.count].T
    if not alive.all():
        scores[:, ~alive] = -np.inf
    if k >= rows.count:
        at = np.broadcast_to(np.arange(rows.count), scores.shape)
    else:
        at = np.argpartition(scores, rows.count - k, axis=1)[:, rows.count - k:]
        scores = np.take_along_axis(scores, at, axis=1)
    return best(scores, at, k)
