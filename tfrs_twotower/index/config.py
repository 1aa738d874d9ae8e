"""The configuration of an index."""

from typing import Annotated, Literal

from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import Above, AtMost, Count, Natural


@config
class IndexConfig:
    """What index to build and the recall that it must reach. None means: found by measuring.

    kind: "auto" is exact below `exact_below` candidates, else ScaNN where it is installed, else IVF.
    target_recall: the share of the true k best that a search must find, averaged over queries.
    k: the k at which recall is measured; the largest k often asked for, exclusions included.
    leaves: clusters of the candidates; by default 2 √n for ScaNN and 4 √n for IVF.
    probes: leaves that a search visits.
    reorder: ScaNN only: candidates re-scored by true inner products.
    """

    kind: Literal["auto", "exact", "scann", "ivf"] = "auto"
    target_recall: Annotated[float, Above(0), AtMost(1)] = 0.95
    k: Count = 100
    exact_below: Natural = 50_000
    leaves: Count | None = None
    probes: Count | None = None
    reorder: Count | None = None
