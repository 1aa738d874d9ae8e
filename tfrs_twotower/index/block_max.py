"""Exact top-k of long rows of scores by block maxima; stock TensorFlow ops.

`tf.math.top_k` walks a row with a heap on one core. Here the row is cut into blocks of 128, only the
blocks with the k largest maxima can hold one of the k best, and `top_k` runs on those alone.
"""

import tensorflow as tf

from tfrs_twotower.index.candidate_index import TopK, padded
from tfrs_twotower.index.checks import neighbours

BLOCK = 128


def top_k(scores: tf.Tensor, k: int | tf.Tensor, size: int | tf.Tensor | None = None) -> TopK:
    """The k largest of each row, with ties in favour of the lower column.

    scores: float32 [batch, n]; −inf means "not a candidate". k: int or scalar tensor ≥ 1, may exceed n.
    size: columns from here on are filler and are never returned; default n. A multiple of 128
      columns saves a copy of the scores, which is what the filler is for.

    Returns a `TopK` whose rows are columns of `scores`.

    Why k + 1 blocks: any element of the k best has fewer than k elements ahead of it, so fewer than
    k blocks with a larger maximum. Filler can enlarge the maximum of the last real block, which the
    one block more makes up for. Filler beyond 127 columns is not allowed.
    """
    k = neighbours(k)
    batch, columns = tf.shape(scores)[0], tf.shape(scores)[1]
    size = columns if size is None else size
    blocks = (columns + BLOCK - 1) // BLOCK
    if scores.shape[1] is None or scores.shape[1] % BLOCK:
        scores = tf.pad(scores, [[0, 0], [0, blocks * BLOCK - columns]], constant_values=float("-inf"))
    scores = tf.reshape(scores, [batch, blocks, BLOCK])
    chosen = tf.math.top_k(tf.reduce_max(scores, axis=2), tf.minimum(k + 1, blocks), sorted=False).indices
    chosen = tf.sort(chosen, axis=1)  # so that position order is column order, and ties fall as they should
    scores = tf.gather(scores, chosen, batch_dims=1)
    column = chosen[:, :, tf.newaxis] * BLOCK + tf.range(BLOCK)
    scores = tf.where(column < size, scores, float("-inf"))
    width = tf.shape(chosen)[1] * BLOCK
    scores, column = tf.reshape(scores, [batch, width]), tf.reshape(column, [batch, width])
    best = tf.math.top_k(scores, tf.minimum(k, size))
    return padded(best.values, tf.gather(column, best.indices, batch_dims=1), k)


def masked_top_k(scores: tf.Tensor, mask: tf.Tensor, k: int | tf.Tensor) -> TopK:
    """`top_k` of the columns whose mask is true. scores: float32 [batch, n]; mask: bool, broadcasts to it."""
    return top_k(tf.where(mask, scores, float("-inf")), k)
