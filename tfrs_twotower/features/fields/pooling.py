"""From a padded list of table rows to one vector, without touching padding."""

import tensorflow as tf


def gather_present(embedding: tf.keras.layers.Embedding, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The entries of `index` [batch, length] that are not −1.

    Returns:
      places: int64 [n, 2], the entries' positions in `index`.
      vectors: [n, dim], their rows of `embedding`. The gradient to its table is sparse and holds no padding.
    """
    places = tf.where(index >= 0)
    return places, embedding(tf.gather_nd(index, places))


def pool_sum(vectors: tf.Tensor, places: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """[batch, dim]: the sum of each batch row's vectors; zeros for a row without vectors."""
    sums = tf.math.segment_sum(vectors, places[:, 0])  # ends with the last row that has a vector
    return tf.pad(sums, [[0, batch - tf.shape(sums)[0]], [0, 0]])


def pool_mean(
    vectors: tf.Tensor, places: tf.Tensor, batch: tf.Tensor, weights: tf.Tensor | None = None
) -> tf.Tensor:
    """[batch, dim]: the mean of each row's vectors, by `weights` [n, 1]; zeros for a row without vectors."""
    if weights is None:
        weights = tf.ones_like(vectors[:, :1])
    else:
        vectors *= weights
    return tf.math.divide_no_nan(pool_sum(vectors, places, batch), pool_sum(weights, places, batch))


def pool_softmax(vectors: tf.Tensor, places: tf.Tensor, batch: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """[batch, dim]: the mean of each row's vectors, weighted by e^score, with `scores` [n]."""
    row = places[:, 0]
    # The largest score of a row cancels out; without it, e^score could be 0 or infinite for all of them.
    largest = tf.stop_gradient(tf.math.unsorted_segment_max(scores, row, batch))
    weights = tf.exp(scores - tf.gather(largest, row))
    return pool_mean(vectors, places, batch, weights[:, tf.newaxis])


def fixed_width(index: tf.Tensor, length: int) -> tf.Tensor:
    """`index` [batch, any], cut or padded with −1 to [batch, length]."""
    index = index[:, :length]
    return tf.pad(index, [[0, 0], [0, length - tf.shape(index)[1]]], constant_values=-1)
