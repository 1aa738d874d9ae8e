"""Removes excluded candidates from an answer, at a cost that hardly grows with their number."""

import tensorflow as tf

from tfrs_twotower.index.candidate_index import TopK, padded
from tfrs_twotower.scores import best


def exclude(found: TopK, excluded: tf.Tensor, k: int | tf.Tensor, codes: tf.Tensor | None = None) -> TopK:
    """The k best of `found` that are not in `excluded`.

    found: `TopK` [batch, m]; fetch m = k + (number of excluded), so that k remain.
    excluded: int32 or int64 [batch or 1, e], any e ≥ 0; −1 excludes nothing.
    codes: [batch, m], the code of each found candidate in `excluded`, in its dtype; default `found.rows`.

    Membership is a binary search in the sorted exclusions: O(m log e) per query, not O(m · e).
    """
    codes = found.rows if codes is None else codes
    batch, width = tf.shape(codes)[0], tf.shape(excluded)[1]
    nothing = tf.fill([batch, 1], tf.constant(-1, excluded.dtype))  # an empty list can't be searched
    excluded = tf.concat([tf.broadcast_to(excluded, [batch, width]), nothing], axis=1)
    excluded = tf.sort(excluded, axis=1)
    at = tf.minimum(tf.searchsorted(excluded, codes), width)
    hit = tf.equal(tf.gather(excluded, at, batch_dims=1), codes)
    scores = tf.where(hit, float("-inf"), found.scores)
    return padded(*best(scores, found.rows, k), k)


def contains(ordered: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """bool of the shape of `values`: which of them are in `ordered`, ascending int64 [n], any n ≥ 0; −1 never is."""
    at = tf.searchsorted(ordered, tf.reshape(values, [-1]))
    found = tf.reshape(tf.gather(tf.concat([ordered, [-1]], axis=0), at), tf.shape(values))
    return (found == values) & (values != -1)
