"""The configuration of an index."""

from tfrs_twotower.configuration import at_least, config
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.index.kind import IndexKind, kind_of

AUTO = "auto"


@config
class IndexConfig:
    """What index to build and the recall that it must reach. None means: found by measuring.

    kind: "auto" is exact below `exact_below` candidates, else ScaNN where it is installed, else IVF. Others are
      "exact", "ivf", "scann"; "faiss_ivf", "faiss_ivfpq", "faiss_hnsw" and "milvus:ADDRESS", which lie outside of a
      SavedModel; "module.Class", an `IndexKind` of one's own; or an `IndexKind` with settings of its own.
    target_recall: the share of the true k best that a search must find, averaged over queries.
    k: the k at which recall is measured; the largest k often asked for, exclusions included.
    leaves: clusters of the candidates; by default 2 √n for ScaNN and 4 √n for IVF.
    probes: leaves that a search visits.
    reorder: ScaNN and Faiss's IVF-PQ: candidates re-scored by true inner products.
    """

    kind: str | IndexKind = AUTO
    target_recall: float = 0.95
    k: int = 100
    exact_below: int = 50_000
    leaves: int | None = None
    probes: int | None = None
    reorder: int | None = None

    def __post_init__(self) -> None:
        if self.kind != AUTO:
            kind_of(self.kind)
        if not 0 < self.target_recall <= 1:
            rule = "be above 0 and at most 1"
            raise ConfigError(invalid("IndexConfig.target_recall", rule, self.target_recall, "0.95 is usual."))
        at_least(1, self, "k")
        at_least(0, self, "exact_below")
        at_least(1, self, *(n for n in ("leaves", "probes", "reorder") if getattr(self, n) is not None))
