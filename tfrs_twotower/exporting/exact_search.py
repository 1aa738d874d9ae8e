"""Exact search of the whole catalogue, inside the graph, with what a request excludes, allows or reorders."""

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfrs_twotower.exporting.shared import shared
from tfrs_twotower.index import TopK, top_k
from tfrs_twotower.models import Repeated
from tfrs_twotower.scores import best_of_interests

if TYPE_CHECKING:
    from tfrs_twotower.exporting.retriever import Retriever

_BLOCK_SCORES = 2**25  # scores of one block of queries: 128 MiB of float32


@shared
def exact_search(
    retriever: "Retriever", queries: tf.Tensor, k: tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor,
    beta: tf.Tensor, hidden: tf.Tensor | None = None, similar: bool = False, own: Repeated | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """(scores, catalogue rows) [batch, k] by exact search, in blocks of queries so that memory stays bounded.

    similar: True turns inner products with 2v / |v| into the part of `similarity` that depends on the other item.
    own: a `Repeated`, which is added to the scores; None: nothing is added.
    """
    batch = tf.shape(queries)[0]
    step = max(1, _BLOCK_SCORES // retriever.size)
    blocks = tf.maximum((batch + step - 1) // step, 1)
    alone = queries.shape[-1] == retriever.tower_length < retriever.dim
    vectors = retriever.vectors[:, : retriever.tower_length] if alone else retriever.vectors
    offered = None if hidden is None else _offered(retriever, hidden)
    asked = [queries, exclude_ids, allow_ids, beta]
    if own is not None:
        asked += [retriever.catalogue_rows(own.codes), own.values]

    def search(
        queries: tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor, beta: tf.Tensor,
        past: tf.Tensor | None = None, added: tf.Tensor | None = None,
    ) -> TopK:
        scores = best_of_interests(lambda query: tf.matmul(query, vectors, transpose_b=True), queries)
        if similar:
            scores = scores / retriever.similarity.lengths - retriever.similarity.density
        scores = _by_options(retriever, scores, exclude_ids, allow_ids, beta)
        if past is not None:
            at = tf.where(past >= 0)
            cells = tf.stack([tf.cast(at[:, 0], tf.int32), tf.gather_nd(past, at)], axis=1)
            scores = tf.tensor_scatter_nd_add(scores, cells, tf.gather_nd(added, at))
        if offered is not None:
            scores = tf.where(offered, scores, -np.inf)
        return top_k(scores, k)

    def many() -> tuple[tf.Tensor, tf.Tensor]:
        scores = tf.TensorArray(tf.float32, blocks, infer_shape=False, element_shape=[None, None])
        rows = tf.TensorArray(tf.int32, blocks, infer_shape=False, element_shape=[None, None])

        def block(
            i: tf.Tensor, scores: tf.TensorArray, rows: tf.TensorArray
        ) -> tuple[tf.Tensor, tf.TensorArray, tf.TensorArray]:
            found = search(*(values[i * step:(i + 1) * step] for values in asked))
            return i + 1, scores.write(i, found[0]), rows.write(i, found[1])

        _, scores, rows = tf.while_loop(lambda i, *_: i < blocks, block, (0, scores, rows))
        return scores.concat(), rows.concat()

    if not tf.executing_eagerly():  # both branches call it, and share one trace
        search = tf.function(search, [tf.TensorSpec([None, *v.shape[1:]], v.dtype) for v in asked], autograph=False)
    scores, rows = tf.cond(blocks == 1, lambda: tuple(search(*asked)), many)
    return tf.ensure_shape(scores, [None, None]), tf.ensure_shape(rows, [None, None])


def _by_options(
    retriever: "Retriever", scores: tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor, beta: tf.Tensor
) -> tf.Tensor:
    """Scores [batch, n] of all items, by the options of the requests. Most have none, which costs one condition."""
    biased = tf.reduce_any(beta != 0.0)

    def changed() -> tf.Tensor:
        shifted = tf.cond(biased, lambda: scores - beta[:, tf.newaxis] * retriever.log_popularity, lambda: scores)
        cells = _cells(retriever, exclude_ids)
        left = tf.tensor_scatter_nd_update(shifted, cells, tf.fill([tf.shape(cells)[0]], -np.inf))
        return tf.cond(tf.size(allow_ids) > 0, lambda: _only(retriever, left, allow_ids), lambda: left)

    return tf.cond(biased | (tf.size(exclude_ids) + tf.size(allow_ids) > 0), changed, lambda: scores)


def _offered(retriever: "Retriever", hidden: tf.Tensor) -> tf.Tensor:
    """bool [n]: the catalogue rows that are not hidden."""
    rows = retriever.rows_of(hidden)
    rows = tf.boolean_mask(rows, rows >= 0)
    return tf.tensor_scatter_nd_update(
        tf.ones([retriever.size], tf.bool), rows[:, tf.newaxis], tf.zeros_like(rows, tf.bool)
    )


def _cells(retriever: "Retriever", ids: tf.Tensor) -> tf.Tensor:
    """[m, 2]: (query, catalogue row) of each known id among ids [b, w]."""
    rows = retriever.rows_of(ids)
    at = tf.where(rows >= 0)
    return tf.stack([tf.cast(at[:, 0], tf.int32), tf.gather_nd(rows, at)], axis=1)


def _only(retriever: "Retriever", scores: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    cells = _cells(retriever, ids)
    free = tf.reduce_all(ids == retriever.missing_id, axis=1)
    mask = tf.tensor_scatter_nd_update(
        tf.zeros_like(scores, tf.bool), cells, tf.ones([tf.shape(cells)[0]], tf.bool)
    )
    return tf.where(tf.logical_or(mask, free[:, tf.newaxis]), scores, -np.inf)
