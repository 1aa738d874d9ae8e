"""From a padded list of rows of a table to one vector, touching only the rows that are there."""

import tensorflow as tf


def gather_present(table, index):
    """The entries of `index` [batch, length] that are not −1.

    Returns:
      places: int64 [n, 2], the entries' places in `index`.
      vectors: [n, dim], their rows of `table`. The gradient to the table is sparse and holds no padding.
    """
    places = tf.where(index >= 0)
    return places, tf.gather(table, tf.gather_nd(index, places))


def pool_sum(vectors, places, batch):
    """[batch, dim]: the sum of each batch row's vectors; zeros for a row that has none."""
    return tf.math.unsorted_segment_sum(vectors, places[:, 0], batch)


def pool_softmax(vectors, places, batch, scores):
    """[batch, dim]: the mean of each row's vectors, weighted by e^score; zeros for a row that has none.

    Args:
      scores: [n], one for each vector. Equal scores give the plain mean.
    """
    row = places[:, 0]
    # The largest score of a row cancels out; without it, e^score could be 0 or infinite for all of them.
    largest = tf.stop_gradient(tf.math.unsorted_segment_max(scores, row, batch))
    weights = tf.exp(scores - tf.gather(largest, row))
    total = tf.math.unsorted_segment_sum(weights, row, batch)
    weighted = pool_sum(vectors * weights[:, tf.newaxis], places, batch)
    return tf.math.divide_no_nan(weighted, total[:, tf.newaxis])


def fixed_width(index, length):
    """`index` [batch, any], cut or padded with −1 to [batch, length]."""
    index = index[:, :length]
    return tf.pad(index, [[0, 0], [0, length - tf.shape(index)[1]]], constant_values=-1)
