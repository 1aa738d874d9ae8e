"""Merges fresh and withdrawn items into an exported catalogue, inside the graph, so that any runtime can serve them."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_twotower.exporting.retriever import Retriever
from tfrs_twotower.exporting.shared import shared
from tfrs_twotower.features import fingerprints
from tfrs_twotower.index import contains, exclude, top_k
from tfrs_twotower.models import Repeated
from tfrs_twotower.scores import best, best_of_interests


class Changes(NamedTuple):
    """The changes since an export, as inputs of a request. A server takes them from its `CurrentItems`.

    overlay_ids: string or int64 [m], distinct: items that are new, or whose vector differs from the catalogue's.
      The missing id is padding.
    overlay_vectors: float32 [m, dim], from the candidate tower of that export.
    withdrawn_ids: [w]: items that are never returned, whether the overlay holds them or not.
    """

    overlay_ids: tf.Tensor
    overlay_vectors: tf.Tensor
    withdrawn_ids: tf.Tensor


@shared
def recommend(
    retriever: Retriever, embedding: tf.Tensor, k: tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor,
    popularity_beta: tf.Tensor, changes: Changes, own: Repeated | None = None, found_ids: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Does the same as `Retriever.recommend_by_vector`, over the catalogue with the changes: (ids, scores).

    The search of the catalogue leaves out the overlay's items and the withdrawn items. The search of the overlay is
    exact. An item that the catalogue lacks has the median popularity of the catalogue's items. The search is fastest
    if `overlay_ids` are sorted by their fingerprints, as a server sends them.

    Returns [batch, min(k, catalogue + overlay)].
    """
    codes, withdrawn = fingerprints(changes.overlay_ids), _ascending(fingerprints(changes.withdrawn_ids))
    hidden = _ascending(tf.concat([codes, withdrawn], axis=0))
    ids, scores = retriever.recommend_by_vector(
        embedding, k, exclude_ids, allow_ids, popularity_beta, hidden=hidden, own=own, found_ids=found_ids
    )
    fresh_ids, fresh_scores = _overlay(
        retriever, embedding, k, exclude_ids, allow_ids, popularity_beta, changes, codes, withdrawn, own
    )
    scores, ids = tf.concat([scores, fresh_scores], axis=1), tf.concat([ids, fresh_ids], axis=1)
    scores, ids = best(scores, ids, tf.reduce_max(k))
    return ids, scores


@shared
def _overlay(
    retriever: Retriever, embedding: tf.Tensor, k: tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor,
    popularity_beta: tf.Tensor, changes: Changes, codes: tf.Tensor, withdrawn: tf.Tensor, own: Repeated | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """(ids, scores) [batch, min(k, m)] of the overlay alone.

    codes: int64 [m], fingerprints of `overlay_ids`; withdrawn: ascending int64 [w], fingerprints of `withdrawn_ids`;
    own: the `Repeated` of the queries, or None.
    """
    ids, vectors = changes.overlay_ids, changes.overlay_vectors
    batch, size = tf.shape(embedding)[0], tf.size(ids)
    k = tf.minimum(tf.reduce_max(k), size)
    aligned = tf.debugging.assert_equal(size, tf.shape(vectors)[0], "`overlay_vectors` must have a row for each id.")
    with tf.control_dependencies([aligned]):
        scores = best_of_interests(
            lambda query: tf.matmul(query, vectors, transpose_b=True), embedding * retriever.scale
        )
    beta = tf.reshape(tf.cast(popularity_beta, tf.float32), [-1, 1])  # one value for all queries, or one for each
    beta -= retriever.popularity_weight
    scores = tf.cond(
        tf.reduce_any(beta != 0.0), lambda: scores - beta * _log_popularity(retriever, codes), lambda: scores
    )
    if own is not None:
        order = tf.argsort(codes)
        place = tf.searchsorted(tf.gather(codes, order), tf.reshape(own.codes, [-1]))
        place = tf.gather(tf.concat([order, [-1]], axis=0), tf.reshape(place, tf.shape(own.codes)))
        at = tf.where(tf.gather(tf.concat([codes, [-1]], axis=0), tf.where(place < 0, size, place)) == own.codes)
        cells = tf.stack([tf.cast(at[:, 0], tf.int32), tf.gather_nd(place, at)], axis=1)
        scores = tf.tensor_scatter_nd_add(scores, cells, tf.gather_nd(own.values, at))
    there = tf.math.is_finite(scores) & (ids != retriever.missing_id) & ~contains(withdrawn, codes)
    there = tf.cond(
        tf.reduce_all(allow_ids == retriever.missing_id), lambda: there,
        lambda: there & _allowed(retriever, tf.broadcast_to(codes, [batch, size]), allow_ids),
    )
    found = top_k(tf.where(there, scores, -np.inf), tf.maximum(k + tf.shape(exclude_ids)[1], 1))
    padded = tf.concat([codes, [-1]], axis=0)  # overlay row −1 is padding, and takes the last code
    left = exclude(found, fingerprints(exclude_ids), k, tf.gather(padded, tf.where(found.rows < 0, size, found.rows)))
    named = tf.gather(tf.concat([ids, [retriever.missing_id]], axis=0), tf.where(left.rows < 0, size, left.rows))
    return named, tf.maximum(left.scores, tf.float32.min)


def _ascending(codes: tf.Tensor) -> tf.Tensor:
    """`codes`, ascending. Codes that are ascending already are only checked, not sorted."""
    ordered = tf.reduce_all(codes[1:] >= codes[:-1])  # no subtraction: the difference of two int64 may overflow
    return tf.cond(ordered, lambda: codes, lambda: tf.sort(codes))


def _log_popularity(retriever: Retriever, codes: tf.Tensor) -> tf.Tensor:
    rows = retriever.rows_of(codes)
    known = tf.gather(retriever.log_popularity, tf.maximum(rows, 0))
    return tf.where(rows >= 0, known, retriever.unknown_log_popularity)


def _allowed(retriever: Retriever, codes: tf.Tensor, allow_ids: tf.Tensor) -> tf.Tensor:
    """bool [batch, m]: Is the item in the query's allow-list? A list of missing ids alone restricts nothing."""
    batch = tf.shape(codes)[0]
    lists = tf.pad(_rows(allow_ids, batch), [[0, 0], [0, 1]], constant_values=retriever.missing_id)
    ordered = tf.sort(fingerprints(lists), axis=1)
    at = tf.minimum(tf.searchsorted(ordered, codes), tf.shape(lists)[1] - 1)
    free = tf.reduce_all(lists == retriever.missing_id, axis=1, keepdims=True)
    return free | (tf.gather(ordered, at, batch_dims=1) == codes)


def _rows(ids: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    return tf.broadcast_to(ids, [batch, tf.shape(ids)[1]])
