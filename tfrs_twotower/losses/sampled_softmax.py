"""The softmax over sampled candidates: the listwise loss of two-tower models."""

import tensorflow as tf


def sampled_softmax(scores, mask=None, weights=None, positive=None):
    """Mean of −log( e^{s⁺} / (e^{s⁺} + Σⱼ e^{sⱼ}) ) over the rows of a batch.

    Reference: Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item
    recommendations". Scores come corrected for sampling: s' = ⟨u, v⟩ / τ − log Q.

    Args:
      scores: float32 [batch, candidates].
      mask: bool [batch, candidates] or None; True where the candidate counts for that row. A row's positive
        counts whatever the mask says.
      weights: [batch] or None. The mean is Σ w·l / Σ w, so weights that are all 1 give the plain mean,
        and the size of the weights does not change the step, only their proportions do.
        Weights that sum to zero give a loss and a gradient of zero.
      positive: int [batch] or None; the column of each row's positive. Default: row i's is column i.

    Returns:
      float32 scalar.
    """
    if positive is None:
        positive = tf.range(tf.shape(scores)[0])
    losses = _cross_entropy(scores, mask, tf.cast(positive, tf.int32))
    if weights is None:
        return tf.reduce_mean(losses)
    weights = tf.cast(weights, losses.dtype)
    total = tf.reduce_sum(tf.math.multiply_no_nan(losses, weights))  # weight 0 leaves out even an infinite loss
    return tf.math.divide_no_nan(total, tf.reduce_sum(weights))


def _cross_entropy(scores, mask, positive):
    """−log softmax at the positive, [batch].

    With the gradient written out: on a CPU, TensorFlow's softmax is more than twice as fast as its fused
    cross entropy, and no gradient needs to pass back through the mask, since it is 0 at −inf.
    """
    cells = tf.stack([tf.range(tf.shape(scores)[0]), positive], axis=1)

    @tf.custom_gradient
    def losses(scores):
        of_positive = tf.gather_nd(scores, cells)
        if mask is not None:
            scores = tf.where(mask, scores, tf.constant(float("-inf"), scores.dtype))
            scores = tf.tensor_scatter_nd_update(scores, cells, of_positive)
        probability = tf.nn.softmax(scores)

        def gradient(upstream):
            by_score = probability * upstream[:, tf.newaxis]
            return tf.tensor_scatter_nd_sub(by_score, cells, upstream)

        # log Σ e^s = max s − log max p, where max p ≥ 1 / candidates: nothing under- or overflows.
        largest = tf.reduce_max(probability, axis=1)
        return tf.reduce_max(scores, axis=1) - of_positive - tf.math.log(largest), gradient

    return losses(scores)
