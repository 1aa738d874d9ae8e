"""Shared by all losses: the positive's column, and means with weights and masks."""

import tensorflow as tf


def own_columns(scores: tf.Tensor, positive: tf.Tensor | None) -> tf.Tensor:
    """int32 [batch]: the column of each row's positive; None means that row i's is column i."""
    return tf.range(tf.shape(scores)[0]) if positive is None else tf.cast(positive, tf.int32)


def positive_and_negatives(
    scores: tf.Tensor, mask: tf.Tensor | None, positive: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """(positive's score [batch], bool [batch, candidates]: True where a candidate is a negative of the row)."""
    rows = tf.range(tf.shape(scores)[0])
    cells = tf.stack([rows, own_columns(scores, positive)], axis=1)
    counted = tf.ones_like(scores, tf.bool) if mask is None else mask
    return tf.gather_nd(scores, cells), tf.tensor_scatter_nd_update(counted, cells, tf.zeros_like(rows, tf.bool))


def mean_where(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Mean of each row's values where `mask` is True, [batch]; 0 for a row without such values."""
    mask = tf.cast(mask, values.dtype)
    return tf.math.divide_no_nan(
        tf.reduce_sum(tf.math.multiply_no_nan(values, mask), axis=1), tf.reduce_sum(mask, axis=1)
    )


def weighted_mean(losses: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    """Σ w·l / Σ w, a scalar.

    Weights that are all 1, or None, give the plain mean. Only the proportions of the weights change the step,
    not their size. Weight 0 leaves out even an infinite loss; weights that sum to zero give a loss
    and a gradient of zero.
    """
    if weights is None:
        return tf.reduce_mean(losses)
    weights = tf.cast(weights, losses.dtype)
    return tf.math.divide_no_nan(
        tf.reduce_sum(tf.math.multiply_no_nan(losses, weights)), tf.reduce_sum(weights)
    )
