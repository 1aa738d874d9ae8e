"""Which estimate of the sampling probability p(c) corrects the scores."""

from typing import Annotated

from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import Above, AtMost, Count


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

    alpha: Annotated[float, Above(0), AtMost(1)] = 0.01
    buckets: Annotated[Count | None, "None takes one a catalogue row."] = None
    hashes: Count = 2
