"""The pairwise losses: the positive above each negative of its row."""

from collections.abc import Callable
from typing import Annotated

import tensorflow as tf

from tfrs_twotower.configuration import config
from tfrs_twotower.losses.loss import Loss
from tfrs_twotower.losses.reduction import mean_where, positive_and_negatives, weighted_mean
from tfrs_twotower.ranges import Positive


def triplet_hinge(
    scores: tf.Tensor, mask: tf.Tensor | None = None, weights: tf.Tensor | None = None,
    positive: tf.Tensor | None = None, margin: float = 0.1,
) -> tf.Tensor:
    """Mean over all pairs of max(0, s⁻ + margin − s⁺). Huang et al. 2020, "Embedding-based retrieval in Facebook
    search".

    Every (positive, negative) pair of a row counts the same, then every row by its weight.

    Args:
      scores: float32 [batch, candidates].
      mask, weights, positive: see `sampled_softmax`.
      margin: m, in units of the score.

    Returns:
      float32 scalar.
    """
    return _over_pairs(lambda gap: tf.nn.relu(gap + margin), scores, mask, weights, positive)


def triplet_logistic(
    scores: tf.Tensor, mask: tf.Tensor | None = None, weights: tf.Tensor | None = None,
    positive: tf.Tensor | None = None, slope: float = 1.0,
) -> tf.Tensor:
    """Mean over all pairs of log(1 + exp(slope · (s⁻ − s⁺))). Huang et al. 2020; arguments as `triplet_hinge`."""
    return _over_pairs(lambda gap: tf.nn.softplus(slope * gap), scores, mask, weights, positive)


def bpr(
    scores: tf.Tensor, mask: tf.Tensor | None = None, weights: tf.Tensor | None = None,
    positive: tf.Tensor | None = None,
) -> tf.Tensor:
    """Mean over all pairs of −log σ(s⁺ − s⁻). Rendle et al. 2009, "BPR: Bayesian personalized ranking"."""
    return triplet_logistic(scores, mask, weights, positive)


def _over_pairs(
    loss: Callable[[tf.Tensor], tf.Tensor], scores: tf.Tensor, mask: tf.Tensor | None, weights: tf.Tensor | None,
    positive: tf.Tensor | None,
) -> tf.Tensor:
    of_positive, negative = positive_and_negatives(scores, mask, positive)
    return weighted_mean(mean_where(loss(scores - of_positive[:, tf.newaxis]), negative), weights)


@config
class TripletHinge(Loss):
    """Pairwise, over all pairs of a batch (`triplet_hinge`). The margin is in units of ⟨u, v⟩ / τ."""

    margin: Annotated[Positive, "In units of ⟨u, v⟩ / τ: with τ = 0.05, 2.0 is a cosine of 0.1."] = 0.1

    def __call__(
        self, scores: tf.Tensor, log_expected: tf.Tensor | None, mask: tf.Tensor | None, weights: tf.Tensor | None,
        positive: tf.Tensor,
    ) -> tf.Tensor:
        """The loss of uncorrected scores. A pair has no softmax to correct: `log_expected` is unused."""
        return triplet_hinge(scores, mask, weights, positive, self.margin)


@config
class TripletLogistic(Loss):
    """Pairwise, smooth (`triplet_logistic`). With slope 1 it is BPR."""

    slope: Annotated[Positive, "1 is BPR."] = 1.0

    def __call__(
        self, scores: tf.Tensor, log_expected: tf.Tensor | None, mask: tf.Tensor | None, weights: tf.Tensor | None,
        positive: tf.Tensor,
    ) -> tf.Tensor:
        """The loss of uncorrected scores. A pair has no softmax to correct: `log_expected` is unused."""
        return triplet_logistic(scores, mask, weights, positive, self.slope)


@config
class BPR(Loss):
    """Pairwise: −log σ(s⁺ − s⁻) over all pairs of a batch (`bpr`)."""

    def __call__(
        self, scores: tf.Tensor, log_expected: tf.Tensor | None, mask: tf.Tensor | None, weights: tf.Tensor | None,
        positive: tf.Tensor,
    ) -> tf.Tensor:
        """The loss of uncorrected scores. A pair has no softmax to correct: `log_expected` is unused."""
        return bpr(scores, mask, weights, positive)
