"""The base of the losses."""

import tensorflow as tf


class Loss:
    """Base of the losses: a frozen dataclass (`config`) that is called with scores."""

    def __call__(
        self, scores: tf.Tensor, log_expected: tf.Tensor | None, mask: tf.Tensor | None, weights: tf.Tensor | None,
        positive: tf.Tensor,
    ) -> tf.Tensor:
        """The mean loss of a batch, a float32 scalar.

        Args:
          scores: float32 [batch, candidates], not corrected for sampling: ⟨u, v⟩ / τ.
          log_expected: float32 [candidates] or [batch, candidates]: log Q, the log of the expected counts; a
            softmax subtracts it. None: no correction.
          mask: bool [batch, candidates] or None; True where the candidate counts for that row.
          weights: [batch] or None; see `weighted_mean`.
          positive: int32 [batch], the column of each row's positive.
        """
        raise NotImplementedError
