"""What every loss is."""


class Loss:
    """Base of the losses: a frozen dataclass (`config`) that is called with scores."""

    def __call__(self, scores, log_expected, mask, weights, positive):
        """The mean loss of a batch, a float32 scalar.

        Args:
          scores: float32 [batch, candidates], not corrected for sampling: ⟨u, v⟩ / τ.
          log_expected: float32 [candidates] or [batch, candidates]: log Q, how often each candidate is expected; a
            softmax subtracts it. None: there is no correction.
          mask: bool [batch, candidates] or None; True where the candidate counts for that row.
          weights: [batch] or None; see `weighted_mean`.
          positive: int32 [batch], the column of each row's positive.
        """
        raise NotImplementedError
