"""The estimates of the candidate sampling probability p(c), for the logQ correction."""

from typing import Annotated

from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import Above, AtMost, Count


@config
class NoLogQ:
    """No correction. Popular candidates then score too low, as they are negatives more often."""


@config
class StaticLogQ:
    """p(c) from the counts of the training rows."""


@config
class StreamingLogQ:
    """p(c) estimated while training, from the gaps between the sights of a candidate (Yi et al. 2019).

    It detects births, deaths and returns of items by these gaps. `StreamingCorrection` explains the method and its
    differences from the paper.

    Attributes:
      alpha: weight of the newest gap, in (0, 1]. The estimate's relative noise is about √(alpha / 2).
      buckets: size of the arrays; None means one bucket per catalogue row, without collisions.
      hashes: number of hash functions, with `buckets` given; the estimate is the smallest over them, as
        collisions only ever raise it.
    """

    alpha: Annotated[float, Above(0), AtMost(1)] = 0.01
    buckets: Annotated[Count | None, "None takes one per catalogue row."] = None
    hashes: Count = 2
