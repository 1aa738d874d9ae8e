"""The pointwise loss: is this pair a match or not."""

import tensorflow as tf

from tfrs_twotower.configuration import config
from tfrs_twotower.losses.loss import Loss
from tfrs_twotower.losses.reduction import mean_where, positive_and_negatives, weighted_mean
from tfrs_twotower.ranges import Positive


def binary_cross_entropy(
    scores: tf.Tensor, mask: tf.Tensor | None = None, weights: tf.Tensor | None = None,
    positive: tf.Tensor | None = None, negatives: float = 3.0,
) -> tf.Tensor:
    """Mean of ( −log σ(s⁺) − n · mean over negatives of log(1 − σ(s⁻)) ) / (1 + n).

    The usual practice draws n = 2 or 3 negatives per positive. This is the expectation of that draw from the row's
    candidates, with less noise: each candidate has the weight n / their number.

    Args:
      scores: float32 [batch, candidates].
      mask, weights, positive: see `sampled_softmax`.
      negatives: n, the total weight of a row's negatives.

    Returns:
      float32 scalar.
    """
    of_positive, negative = positive_and_negatives(scores, mask, positive)
    of_negatives = mean_where(tf.nn.softplus(scores), negative)  # −log(1 − σ(s)) = softplus(s)
    return weighted_mean((tf.nn.softplus(-of_positive) + negatives * of_negatives) / (1.0 + negatives), weights)


@config
class BinaryCrossEntropy(Loss):
    """Pointwise. `negatives` is the total weight of a row's negatives against its positive; 2 or 3 is usual."""

    negatives: Positive = 3.0

    def __call__(
        self, scores: tf.Tensor, log_expected: tf.Tensor | None, mask: tf.Tensor | None, weights: tf.Tensor | None,
        positive: tf.Tensor,
    ) -> tf.Tensor:
        """The loss of uncorrected scores. A pointwise loss has no softmax to correct: `log_expected` is unused."""
        return binary_cross_entropy(scores, mask, weights, positive, self.negatives)
