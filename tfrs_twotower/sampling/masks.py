"""Which of a batch's candidates are no negatives of a row. True marks the candidates to leave out."""

import tensorflow as tf

from tfrs_twotower import columns


def same_item(candidate_rows, positive_rows):
    """True where a candidate is the row's positive item, whoever brought it into the batch.

    Args:
      candidate_rows: int or string [c].
      positive_rows: the same type, [b].

    Returns:
      bool [b, c].
    """
    if candidate_rows.dtype == tf.string:
        candidate_rows, positive_rows = _as_codes(candidate_rows, positive_rows)
    return tf.equal(positive_rows[:, tf.newaxis], candidate_rows[tf.newaxis, :])


def user_positives(candidate_rows, known_positive_rows):
    """True where a candidate is a known positive of the row's user.

    Each known positive is looked up among the sorted candidates, so the memory is that of the answer
    plus the hits; there is no [b, c, m] comparison.

    Args:
      candidate_rows: int or string [c].
      known_positive_rows: the same type, [b, m]; padded with −1 ("" for strings).

    Returns:
      bool [b, c].
    """
    batch, width = tf.unstack(tf.shape(known_positive_rows))
    candidates = tf.size(candidate_rows)
    known = tf.reshape(known_positive_rows, [-1])
    if candidate_rows.dtype == tf.string:
        real = known != columns.MISSING_STRING_ID
        candidate_rows, known = _as_codes(candidate_rows, known)
    else:
        real = known != columns.MISSING_INT_ID
        candidate_rows, known = tf.cast(candidate_rows, tf.int64), tf.cast(known, tf.int64)

    # Hits of a known positive are the sorted places from `first` to `first + hits`.
    order = tf.argsort(candidate_rows)
    ordered = tf.gather(candidate_rows, order)
    first = tf.searchsorted(ordered, known, side="left")
    hits = tf.where(real, tf.searchsorted(ordered, known, side="right") - first, 0)
    found = tf.where(hits > 0)[:, 0]
    first, hits = tf.gather(first, found), tf.gather(hits, found)
    row = tf.repeat(tf.cast(found, tf.int32) // width, hits)
    place = tf.range(tf.size(row)) + tf.repeat(first - tf.cumsum(hits, exclusive=True), hits)
    cells = tf.stack([row, tf.gather(order, place)], axis=1)
    return tf.tensor_scatter_nd_update(
        tf.zeros([batch, candidates], tf.bool), cells, tf.ones([tf.shape(cells)[0]], tf.bool)
    )


def _as_codes(first, second):
    """Two string vectors as integers that agree where the strings do."""
    codes = tf.unique(tf.concat([first, second], axis=0)).idx
    return codes[: tf.size(first)], codes[tf.size(first) :]
