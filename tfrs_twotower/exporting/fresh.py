"""Fresh and withdrawn items beside an exported catalogue: both merged in the graph, so that any runtime serves them."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_twotower.exporting.retriever import best_of_interests
from tfrs_twotower.features import fingerprints
from tfrs_twotower.index import exclude
from tfrs_twotower.index.candidate_index import TopK


class Changes(NamedTuple):
    """What changed since an export, as inputs of a request; `MutableIndex.delta` gives it.

    overlay_ids: string or int64 [m], distinct: items that are new or have another vector than in the catalogue;
      the missing id is padding.
    overlay_vectors: float32 [m, dim], of the candidate tower of that export.
    withdrawn_ids: [w]: items that are never returned, in the overlay or not.
    """

    overlay_ids: tf.Tensor
    overlay_vectors: tf.Tensor
    withdrawn_ids: tf.Tensor


def recommend(retriever, embedding, k, exclude_ids, allow_ids, popularity_beta, changes):
    """As `Retriever.recommend_by_vector`, over the catalogue with the changes: (ids, scores).

    The catalogue's part is searched without what the overlay holds and what is withdrawn; the overlay's part is
    exact. An item that the catalogue lacks counts as popular as its least popular item.

    Returns [batch, min(k, catalogue + overlay)].
    """
    hidden = tf.concat([changes.overlay_ids, changes.withdrawn_ids], axis=0)
    hidden = tf.boolean_mask(hidden, retriever.rows_of(hidden) >= 0)  # the others cost the catalogue's search nothing
    batch = tf.shape(embedding)[0]
    ids, scores = retriever.recommend_by_vector(
        embedding, k, tf.concat([_rows(exclude_ids, batch), _rows(hidden[tf.newaxis], batch)], axis=1),
        allow_ids, popularity_beta,
    )
    fresh_ids, fresh_scores = _overlay(retriever, embedding, k, exclude_ids, allow_ids, popularity_beta, changes)
    scores, ids = tf.concat([scores, fresh_scores], axis=1), tf.concat([ids, fresh_ids], axis=1)
    best = tf.math.top_k(scores, tf.minimum(tf.reduce_max(k), tf.shape(scores)[1]))
    return tf.gather(ids, best.indices, batch_dims=1), best.values


def _overlay(retriever, embedding, k, exclude_ids, allow_ids, popularity_beta, changes):
    """(ids, scores) [batch, min(k, m)] of the overlay alone."""
    ids, vectors, withdrawn = changes
    batch, size = tf.shape(embedding)[0], tf.size(ids)
    aligned = tf.debugging.assert_equal(size, tf.shape(vectors)[0], "`overlay_vectors` must have a row for each id.")
    with tf.control_dependencies([aligned]):
        scores = best_of_interests(
            lambda query: tf.matmul(query, vectors, transpose_b=True), embedding * retriever.scale
        )
    beta = tf.reshape(tf.cast(popularity_beta, tf.float32), [-1, 1])  # one value, or one a query
    scores -= beta * _log_popularity(retriever, ids)
    codes = tf.broadcast_to(fingerprints(ids), [batch, size])
    there = tf.math.is_finite(scores) & (ids != retriever.missing_id) & _allowed(retriever, codes, allow_ids)
    found = TopK(tf.where(there, scores, -np.inf), tf.broadcast_to(tf.range(size), [batch, size]))
    gone = fingerprints(tf.concat([_rows(exclude_ids, batch), _rows(withdrawn[tf.newaxis], batch)], axis=1))
    best = exclude(found, gone, tf.minimum(tf.reduce_max(k), size), codes)
    named = tf.gather(tf.concat([ids, [retriever.missing_id]], axis=0), tf.where(best.rows < 0, size, best.rows))
    return named, tf.maximum(best.scores, tf.float32.min)


def _log_popularity(retriever, ids):
    rows = retriever.rows_of(ids)
    known = tf.gather(retriever.log_popularity, tf.maximum(rows, 0))
    return tf.where(rows >= 0, known, tf.reduce_min(retriever.log_popularity))


def _allowed(retriever, codes, allow_ids):
    """bool [batch, m]: in the query's list, which restricts nothing where it holds nothing but missing ids."""
    batch = tf.shape(codes)[0]
    lists = tf.pad(_rows(allow_ids, batch), [[0, 0], [0, 1]], constant_values=retriever.missing_id)
    ordered = tf.sort(fingerprints(lists), axis=1)
    at = tf.minimum(tf.searchsorted(ordered, codes), tf.shape(lists)[1] - 1)
    free = tf.reduce_all(lists == retriever.missing_id, axis=1, keepdims=True)
    return free | (tf.gather(ordered, at, batch_dims=1) == codes)


def _rows(ids, batch):
    return tf.broadcast_to(ids, [batch, tf.shape(ids)[1]])
