"""Percentile bootstrap over queries (Efron 1979): how much a mean would change with other queries."""

import functools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

_WEIGHTS_AT_ONCE = 4_000_000  # of a block of replicates; one replicate of more queries is a block by itself
_WEIGHTS_KEPT = 40_000_000  # of all replicates, of a byte each


def resampled_means(values: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """float64 [replicates, m]: means of `values` over queries drawn with replacement.

    Args:
      values: float [q, m]; NaN if the query does not count for that metric.
      replicates: number of draws of q queries.
      seed: the same seed and q draw the same queries, so the means of two models can be paired.

    Returns:
      NaN in a replicate without a query of the metric.
    """
    values = np.asarray(values, np.float64)
    size = len(values)
    members, place = _members(values)
    known = tf.constant(np.nan_to_num(values))
    means = []
    drawn = _kept if replicates * size <= _WEIGHTS_KEPT else _drawn
    for counts in drawn(size, replicates, seed):
        weights = tf.constant(counts, tf.float64)
        # NumPy's BLAS takes up to twenty times as long: for few replicates as for few columns, whichever side is first.
        sums, drawn_members = (tf.matmul(weights, columns).numpy() for columns in (known, members))
        with np.errstate(invalid="ignore"):
            means.append(sums / drawn_members[:, place])
    return np.concatenate(means)


def _members(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(float64 [q, few]: 1 for the queries that count, the column there of each column of `values`).

    All metrics of a slice have the same queries.
    """
    known = ~np.isnan(values)
    _, first, place = np.unique(np.packbits(known, axis=0), axis=1, return_index=True, return_inverse=True)
    return known[:, first].astype(np.float64), place.ravel()


def _drawn(size: int, replicates: int, seed: int) -> Iterator[np.ndarray]:
    """How often each replicate draws each query, in blocks: small integers [replicates of the block, size]."""
    generator = np.random.default_rng(seed)
    step = max(1, _WEIGHTS_AT_ONCE // size)
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        drawn = generator.integers(0, size, (rows, size)) + np.arange(rows)[:, None] * size
        counts = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        yield counts.astype(np.uint8 if counts.max() < 256 else np.uint32)


@functools.lru_cache(1)
def _kept(size: int, replicates: int, seed: int) -> list[np.ndarray]:
    """`_drawn`, the last result kept: all scorers of an evaluation have the same draws."""
    return list(_drawn(size, replicates, seed))


def intervals(values: np.ndarray, replicates: int = 1000, seed: int = 0, level: float = 0.95) -> np.ndarray:
    """float64 [m, 2]: the central `level` of the resampled means of each column of `values` [q, m]."""
    means = np.sort(resampled_means(values, replicates, seed), axis=0)  # NaN last
    last = (~np.isnan(means)).sum(axis=0) - 1
    tail = (1.0 - level) / 2.0
    return np.stack([_at(means, last * tail), _at(means, last * (1.0 - tail))], axis=1)


def _at(ordered: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The value at a fractional row of each sorted column (much faster than np.nanpercentile)."""
    below, column = np.floor(place).astype(int), np.arange(len(place))
    low, high = ordered[below, column], ordered[np.ceil(place).astype(int), column]
    return low + (place - below) * (high - low)
