"""Which estimate of the sampling probability p(c) corrects the scores."""

from tfrs_twotower.configuration import config
from tfrs_twotower.errors import ConfigError, invalid


@config
class NoLogQ:
    """No correction: popular candidates are then pushed down, as they are negatives more often."""


@config
class StaticLogQ:
    """p(c) from the counts of the training rows."""


@config
class StreamingLogQ:
    """p(c) estimated while training, from the gaps between the sights of a candidate (Yi et al. 2019).

    It detects births, deaths and returns of items by these gaps; `StreamingCorrection` says how, and how that differs
    from the paper.

    Attributes:
      alpha: weight of the newest gap, in (0, 1]. The estimate's relative noise is about √(alpha / 2).
      buckets: size of the arrays; None means one bucket a catalogue row, so nothing collides.
      hashes: number of hash functions, with `buckets` given; the estimate is the smallest over them, as
        collisions only ever raise it.
    """

    alpha: float = 0.01
    buckets: int | None = None
    hashes: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise ConfigError(invalid("alpha", "be above 0 and at most 1", self.alpha, "0.01 is usual."))
        if self.buckets is not None and self.buckets < 1:
            raise ConfigError(
                invalid("buckets", "be at least 1 or None", self.buckets, "None takes one a catalogue row.")
            )
        if self.hashes < 1:
            raise ConfigError(invalid("hashes", "be at least 1", self.hashes, "2 is usual."))
