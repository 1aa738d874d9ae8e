"""The softmax over sampled candidates: the listwise loss of two-tower models."""

from collections.abc import Callable

import tensorflow as tf

from tfrs_twotower.configuration import config
from tfrs_twotower.losses.loss import Loss
from tfrs_twotower.losses.reduction import own_columns, weighted_mean


def sampled_softmax(
    scores: tf.Tensor, mask: tf.Tensor | None = None, weights: tf.Tensor | None = None,
    positive: tf.Tensor | None = None,
) -> tf.Tensor:
    """Mean of −log( e^{s⁺} / (e^{s⁺} + Σⱼ e^{sⱼ}) ) over the rows of a batch.

    Reference: Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item
    recommendations". Scores are already corrected for sampling: s' = ⟨u, v⟩ / τ − log Q.

    Args:
      scores: float32 [batch, candidates].
      mask: bool [batch, candidates] or None; True where the candidate counts for that row. A row's positive
        always counts.
      weights: [batch] or None; see `weighted_mean`.
      positive: int [batch] or None; the column of each row's positive. Default: row i's is column i.

    Returns:
      float32 scalar.
    """
    return weighted_mean(_cross_entropy(scores, mask, own_columns(scores, positive)), weights)


@config
class SampledSoftmax(Loss):
    """Listwise: the positive against all candidates of the batch (`sampled_softmax`)."""

    def __call__(
        self, scores: tf.Tensor, log_expected: tf.Tensor | None, mask: tf.Tensor | None, weights: tf.Tensor | None,
        positive: tf.Tensor,
    ) -> tf.Tensor:
        """The loss of uncorrected scores; `log_expected`: log Q, [candidates] or None for no correction."""
        return sampled_softmax(scores if log_expected is None else scores - log_expected, mask, weights, positive)


def _cross_entropy(scores: tf.Tensor, mask: tf.Tensor | None, positive: tf.Tensor) -> tf.Tensor:
    """−log softmax at the positive, [batch].

    With the gradient written out: on a CPU, TensorFlow's softmax is more than twice as fast as its fused
    cross entropy, and no gradient needs to pass back through the mask, since it is 0 at −inf.
    """
    cells = tf.stack([tf.range(tf.shape(scores)[0]), positive], axis=1)

    @tf.custom_gradient
    def losses(scores: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        of_positive = tf.gather_nd(scores, cells)
        if mask is not None:
            scores = tf.where(mask, scores, tf.constant(float("-inf"), scores.dtype))
            scores = tf.tensor_scatter_nd_update(scores, cells, of_positive)
        probability = tf.nn.softmax(scores)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            by_score = probability * upstream[:, tf.newaxis]
            return tf.tensor_scatter_nd_sub(by_score, cells, upstream)

        # log Σ e^s = max s − log max p, where max p ≥ 1 / candidates: nothing under- or overflows.
        largest = tf.reduce_max(probability, axis=1)
        return tf.reduce_max(scores, axis=1) - of_positive - tf.math.log(largest), gradient

    return losses(scores)
