"""Masks of a batch's candidates that are no negatives of a row. True marks the candidates to leave out."""

import tensorflow as tf

from tfrs_twotower.features import is_missing


def same_item(candidate_rows: tf.Tensor, positive_rows: tf.Tensor) -> tf.Tensor:
    """True where a candidate is the row's positive item, from whichever source.

    Args:
      candidate_rows: int or string [c].
      positive_rows: the same type, [b].

    Returns:
      bool [b, c].
    """
    if candidate_rows.dtype == tf.string:
        candidate_rows, positive_rows = _as_codes(candidate_rows, positive_rows)
    return tf.equal(positive_rows[:, tf.newaxis], candidate_rows[tf.newaxis, :])


def user_positives(candidate_rows: tf.Tensor, known_positive_rows: tf.Tensor) -> tf.Tensor:
    """True where a candidate is a known positive of the row's user.

    Each known positive is looked up among the batch's distinct items. So the memory is a few times that of the
    result; there is no [b, c, m] comparison.

    Args:
      candidate_rows: int or string [c].
      known_positive_rows: the same type, [b, m]; padded with −1 ("" for strings).

    Returns:
      bool [b, c].
    """
    batch, width = tf.unstack(tf.shape(known_positive_rows))
    known = tf.reshape(known_positive_rows, [-1])
    real = ~is_missing(known)
    if candidate_rows.dtype == tf.string:
        candidate_rows, known = _as_codes(candidate_rows, known)
    else:
        candidate_rows, known = tf.cast(candidate_rows, tf.int64), tf.cast(known, tf.int64)
    items = tf.unique(tf.sort(candidate_rows)).y
    place = tf.minimum(tf.searchsorted(items, known), tf.size(items) - 1)
    found = tf.where(tf.logical_and(real, tf.gather(items, place) == known))[:, 0]
    cells = tf.stack([tf.gather(place, found), tf.cast(found, tf.int32) // width], axis=1)
    by_item = tf.tensor_scatter_nd_update(
        tf.zeros([tf.size(items), batch], tf.bool), cells, tf.ones(tf.shape(found), tf.bool)
    )
    # Rows are gathered and transposed: gathering columns takes twice as long.
    return tf.transpose(tf.gather(by_item, tf.searchsorted(items, candidate_rows)))


def _as_codes(first: tf.Tensor, second: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Two string vectors as integers: equal integers for equal strings."""
    codes = tf.unique(tf.concat([first, second], axis=0)).idx
    return codes[: tf.size(first)], codes[tf.size(first) :]
