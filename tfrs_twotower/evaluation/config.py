"""The settings of an evaluation."""

from tfrs_twotower.config import config


@config
class EvaluationConfig:
    """What is measured.

    Attributes:
      ks: the cut-offs K of the metrics, each at least 1.
      exclude_seen: items that the user met before the request are not ranked (targets always are).
      bootstrap: replicates behind each interval; 0 leaves the intervals out.
    """

    ks: tuple[int, ...] = (10, 50, 100)
    exclude_seen: bool = True
    bootstrap: int = 1000
