"""The sampled softmax that does not correct its positive."""

import tensorflow as tf

from tfrs_twotower.configuration import config
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.losses.loss import Loss
from tfrs_twotower.losses.reduction import positive_and_negatives, weighted_mean


def refined_sampled_softmax(
    scores: tf.Tensor, log_expected: tf.Tensor, mask: tf.Tensor | None = None, weights: tf.Tensor | None = None,
    positive: tf.Tensor | None = None,
) -> tf.Tensor:
    """Mean of sg(1 − p̂) · [ −s⁺ + log Z ], Z = Σ over a row's negatives of e^{s − log Q}.

    Reference: Khrylchenko et al. 2025, "Correcting the LogQ correction". The positive is always present, not
    sampled. So it is neither corrected nor part of the sampled sum. sg(1 − p̂), with p̂ = e^{s⁺} / (e^{s⁺} + Z)
    and no gradient, gives the pair its weight in the full softmax.

    Q(n) is the expected count of n among the candidates, before the positive's own hits are masked. Then Z is an
    unbiased estimate of Σ_{c ≠ ⁺} e^{s(c)}. Q includes two factors of the paper: the number of negatives, and
    1 − Q(⁺) for the hits that are left out.

    Args:
      scores: float32 [batch, candidates], uncorrected: ⟨u, v⟩ / τ.
      log_expected: float32 [candidates] or [batch, candidates], log Q.
      mask: bool [batch, candidates] or None; True where the candidate counts. It must leave out the row's own
        item, from every source.
      weights, positive: see `sampled_softmax`.

    Returns:
      float32 scalar. A row without negatives adds 0.
    """
    of_positive, negative = positive_and_negatives(scores, mask, positive)
    shifted = tf.where(negative, scores - log_expected, tf.constant(float("-inf"), scores.dtype))
    some = tf.reduce_any(negative, axis=1)
    log_z = tf.reduce_logsumexp(tf.where(some[:, tf.newaxis], shifted, 0.0), axis=1)
    share = tf.stop_gradient(tf.sigmoid(log_z - of_positive))  # 1 − p̂
    return weighted_mean(tf.where(some, share * (log_z - of_positive), 0.0), weights)


@config
class RefinedSampledSoftmax(Loss):
    """Listwise; unbiased even if accidental hits are removed (`refined_sampled_softmax`)."""

    def __call__(
        self, scores: tf.Tensor, log_expected: tf.Tensor | None, mask: tf.Tensor | None, weights: tf.Tensor | None,
        positive: tf.Tensor,
    ) -> tf.Tensor:
        """The loss of uncorrected scores; it needs `log_expected`: log Q."""
        if log_expected is None:
            raise ConfigError(
                "`loss=RefinedSampledSoftmax()` needs the expected counts. Received: logq=NoLogQ(). Use "
                "logq=StreamingLogQ() or StaticLogQ(), or loss=SampledSoftmax()."
            )
        return refined_sampled_softmax(scores, log_expected, mask, weights, positive)
