"""The number of leaves of an index, and the number that a search visits."""

import math

import tensorflow as tf

from tfrs_twotower.index import checks

# A leaf holds at least this many vectors on average: smaller leaves cost more to choose than to scan.
_LEAST_LEAF = 16
# The visited leaves hold, on average, at least this many times k vectors.
_OVER = 4


def leaves_for(size: int, leaves: int | None, factor: float) -> int:
    """The number of leaves for `size` vectors: the given one, or factor · √size; at most size / 16."""
    leaves = round(factor * math.sqrt(size)) if leaves is None else checks.at_least_one("leaves", leaves)
    return max(1, min(leaves, size // _LEAST_LEAF))


def probes_for(tuned: int, leaves: int, size: int, k: int | tf.Tensor) -> int | tf.Tensor:
    """The number of leaves to visit for k results: `tuned`, or more if k is a large part of `size`.

    The visited leaves hold 4 k vectors of average-sized leaves, so all are visited when k ≥ size / 4.
    k: int or scalar tensor. Returns the same, at least 1 and at most `leaves`.
    """
    tuned = min(tuned, leaves)
    enough = k // max(1, size // (_OVER * leaves)) + 1
    if isinstance(k, int):
        return min(leaves, max(tuned, enough))
    return tf.minimum(leaves, tf.maximum(tuned, enough))
