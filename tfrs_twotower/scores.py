"""What becomes of scores, in evaluation, in an index and in an export alike: graph code of stock TensorFlow ops."""

import functools
from collections.abc import Callable

import tensorflow as tf

BLOCK = 128
_FEW = 16  # blocks of a row that is not cut


def best_of_interests(score: Callable[[tf.Tensor], tf.Tensor], queries: tf.Tensor) -> tf.Tensor:
    """The scores of an item are those of its best interest: `score(queries)` of queries [b, dim]; of queries
    [b, interests, dim] the largest of the interests' scores.

    Where an index finds the items, `index.search_interests` asks it for the best of each interest; the largest score of
    an item found twice is then the same.
    """
    if len(queries.shape) == 2:
        return score(queries)
    return functools.reduce(tf.maximum, [score(queries[:, i]) for i in range(queries.shape[1])])


def block_top_k(
    scores: tf.Tensor, k: int | tf.Tensor, size: int | tf.Tensor | None = None, block: int = BLOCK
) -> tuple[tf.Tensor, tf.Tensor]:
    """(scores, columns) [batch, min(k, n)]: the k largest of each row, ties in favour of the lower column.

    `tf.math.top_k` walks a row with a heap on one core. So a long row is cut into blocks, only the blocks with the k
    largest maxima can hold one of the k best, and `tf.math.top_k` runs on those alone. A short row is not cut: the ops
    that choose blocks would take longer than the walk.

    Args:
      scores: float32 [batch, n]. Where a score is −inf, the column means nothing, and may be n or more.
      k: at least 1.
      size: columns from here on, fewer than a block, are filler and are never returned; default n. A multiple of
        `block` columns saves a copy of the scores, which is what the filler is for.
      block: columns of a block. Short ones are better where k blocks would be most of the row.
    """
    if scores.shape[1] is not None and scores.shape[1] <= _FEW * block:
        scores = scores if size is None else scores[:, :size]
        return tuple(tf.math.top_k(scores, tf.minimum(k, tf.shape(scores)[1])))
    batch, columns = tf.shape(scores)[0], tf.shape(scores)[1]
    blocks = (columns + block - 1) // block
    if scores.shape[1] is None or scores.shape[1] % block:
        scores = tf.pad(scores, [[0, 0], [0, blocks * block - columns]], constant_values=float("-inf"))
    scores = tf.reshape(scores, [batch, blocks, block])
    # Fewer than k blocks have a larger maximum than that of an element of the k best. Filler can enlarge the maximum of
    # the last block with real scores, which one block more makes up for.
    wanted = k if size is None else k + 1
    chosen = tf.math.top_k(tf.reduce_max(scores, axis=2), tf.minimum(wanted, blocks), sorted=False).indices
    chosen = tf.sort(chosen, axis=1)  # so that position order is column order, and ties fall as they should
    scores = tf.gather(scores, chosen, batch_dims=1)
    column = chosen[:, :, tf.newaxis] * block + tf.range(block)
    if size is not None:
        scores = tf.where(column < size, scores, float("-inf"))
    width = tf.shape(chosen)[1] * block
    best = tf.math.top_k(tf.reshape(scores, [batch, width]), tf.minimum(k, columns if size is None else size))
    return best.values, tf.gather(tf.reshape(column, [batch, width]), best.indices, batch_dims=1)


def best(scores: tf.Tensor, named: tf.Tensor, k: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(scores, names) [batch, min(k, m)]: the k largest of few scores [batch, m], and what is `named` beside them."""
    found = tf.math.top_k(scores, tf.minimum(k, tf.shape(scores)[1]))
    return found.values, tf.gather(named, found.indices, batch_dims=1)
