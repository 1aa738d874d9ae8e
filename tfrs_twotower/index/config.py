"""The configuration of an index."""

from typing import Literal

from tfrs_twotower.configuration import at_least, config
from tfrs_twotower.errors import ConfigError, invalid, nearest

_KINDS = ("auto", "exact", "scann", "ivf")


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
    target_recall: float = 0.95
    k: int = 100
    exact_below: int = 50_000
    leaves: int | None = None
    probes: int | None = None
    reorder: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ConfigError(f"`IndexConfig.kind` cannot be {self.kind!r}." + nearest(self.kind, _KINDS))
        if not 0 < self.target_recall <= 1:
            rule = "be above 0 and at most 1"
            raise ConfigError(invalid("IndexConfig.target_recall", rule, self.target_recall, "0.95 is usual."))
        at_least(1, self, "k")
        at_least(0, self, "exact_below")
        at_least(1, self, *(n for n in ("leaves", "probes", "reorder") if getattr(self, n) is not None))
