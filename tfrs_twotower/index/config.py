"""The configuration of an index."""

from typing import Annotated

from tfrs_twotower.configuration import config
from tfrs_twotower.index.kind import IndexKind, kind_of
from tfrs_twotower.index.sharded import ShardedKind
from tfrs_twotower.ranges import Above, AtMost, Count, Natural

AUTO = "auto"


@config
class IndexConfig:
    """The index to build and the recall that it must reach. None means: found by measuring.

    kind: "auto" is exact below `exact_below` candidates, else ScaNN if it is installed, else IVF. Others are
      "exact", "ivf", "scann"; "faiss_ivf", "faiss_ivfpq", "faiss_hnsw" and "milvus:ADDRESS", which lie outside of a
      SavedModel; "faiss_ivf:int8" or "faiss_hnsw:bfloat16", which store each number in fewer bytes; "module.Class", an
      `IndexKind` of your own; or an `IndexKind` with settings of its own.
    target_recall: the share of the true k best that a search must find, averaged over queries.
    k: the k at which recall is measured. Take the largest usual k, with exclusions.
    leaves: clusters of the candidates; by default 2 √n for ScaNN and 4 √n for IVF.
    probes: leaves that a search visits.
    reorder: ScaNN and Faiss's IVF-PQ: candidates re-scored by true inner products.
    shards: parts of the index, each over a range of the rows and with files of its own. With more than one, the index
      lies outside of the SavedModel, and `leaves`, `probes` and `reorder` are those of a part.
    """

    kind: str | IndexKind = AUTO
    target_recall: Annotated[float, Above(0), AtMost(1)] = 0.95
    k: Count = 100
    exact_below: Natural = 50_000
    leaves: Count | None = None
    probes: Count | None = None
    reorder: Count | None = None
    shards: Count = 1

    def __post_init__(self) -> None:
        if self.kind != AUTO:
            self.whole(kind_of(self.kind))

    def whole(self, kind: IndexKind) -> IndexKind:
        """The kind of the index, from the kind of its parts."""
        return kind if self.shards == 1 else ShardedKind(kind, self.shards)
