"""The softmax over sampled candidates: the listwise loss of two-tower models."""

import tensorflow as tf


def sampled_softmax(scores, mask=None, weights=None, positive=None):
    """Mean of −log( e^{s⁺} / (e^{s⁺} + Σⱼ e^{sⱼ}) ) over the rows of a batch.

    Reference: Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item
    recommendations". Scores come corrected for sampling: s' = ⟨u, v⟩ / τ − log Q.

    Args:
      scores: float32 [batch, candidates].
      mask: bool [batch, candidates] or None; True where the candidate counts for that row. A row's positive
        must count: where it does not, the loss is infinite.
      weights: [batch] or None. The mean is Σ w·l / Σ w, so weights that are all 1 give the plain mean,
        and the size of the weights does not change the step, only their proportions do.
        Weights that sum to zero give a loss and a gradient of zero.
      positive: int [batch] or None; the column of each row's positive. Default: row i's is column i.

    Returns:
      float32 scalar.
    """
    if positive is None:
        positive = tf.range(tf.shape(scores)[0])
    if mask is not None:
        scores = tf.where(mask, scores, tf.constant(float("-inf"), scores.dtype))
    # The fused op takes a label per row, not a [batch, candidates] matrix; at −inf its gradient is 0.
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=positive, logits=scores)
    if weights is None:
        return tf.reduce_mean(losses)
    weights = tf.cast(weights, losses.dtype)
    # A row of weight 0 is left out even where its loss is infinite.
    weighted = tf.where(weights > 0, weights * losses, tf.zeros_like(losses))
    return tf.math.divide_no_nan(tf.reduce_sum(weighted), tf.reduce_sum(weights))
