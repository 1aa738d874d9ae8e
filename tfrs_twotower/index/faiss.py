"""Faiss behind the same search: inverted files with and without product codes, and HNSW graphs.

These are not `tf.Module`s: no SavedModel holds them. A `MutableIndex`, a benchmark or a program of one's own
searches them by vector, with NumPy arrays in and out. Faiss runs a batch on several threads by itself.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_twotower import extras
from tfrs_twotower.index import checks
from tfrs_twotower.index.candidate_index import TopK
from tfrs_twotower.index.leaves import leaves_for, probes_for

if TYPE_CHECKING:
    from faiss import Index, SearchParameters

_OVER = 4  # candidates by codes, or met in the graph, for one that is returned
_LEAST_CODED = 39 * 16  # vectors that Faiss wants for the 16 centroids of a code of 4 bits
_LEAST_FOR_BYTES = 39 * 256  # the same for the 256 centroids of 8 bits


class FaissIVF:
    """IVF-Flat: the `probes` leaves whose centroids score best are searched exactly."""

    exact = False

    def __init__(self, vectors: np.ndarray, leaves: int | None = None, probes: int = 16) -> None:
        """vectors: float32 [n, dim], finite. leaves: default 4 √n; at most one for 16 vectors.

        Raises:
          MissingExtraError: Faiss is not installed. IndexingError: see `checks`.
        """
        self._faiss = extras.require("faiss")
        vectors = checks.candidate_vectors(vectors)
        self.size, self.dim = vectors.shape
        self.leaves = leaves_for(self.size, leaves, 4.0)
        self.probes = checks.at_least_one("probes", probes)
        self._index = _trained(self._faiss, f"IVF{self.leaves},Flat", vectors)

    def search(self, queries: np.ndarray, k: int) -> TopK:
        """See `CandidateIndex.search`; NumPy in and out. A large k probes more leaves; from size / 4 on, all."""
        queries, k = checks.query_matrix(queries, self.dim), checks.neighbours(k)
        probes = probes_for(self.probes, self.leaves, self.size, k)
        return _top_k(self._index, queries, k, self._faiss.SearchParametersIVF(nprobe=probes))

    def settings(self) -> dict[str, Any]:
        """See `CandidateIndex.settings`."""
        probes = min(self.probes, self.leaves)
        return {"kind": "faiss_ivf", "size": self.size, "dim": self.dim, "leaves": self.leaves, "probes": probes}


class FaissIVFPQ:
    """IVF-PQ: leaves searched by codes of two dimensions each; true inner products rank the best of them.

    The vectors stay in memory for that, as in ScaNN. Reference: Jégou et al., Product Quantization for Nearest
    Neighbor Search, 2011.
    """

    exact = False

    def __init__(self, vectors: np.ndarray, leaves: int | None = None, probes: int = 16, reorder: int = 400) -> None:
        """As `FaissIVF`. reorder: candidates of the codes that are ranked by true scores at least.

        Fewer than 624 vectors are too few to learn codes from: they are scored one by one.
        """
        self._faiss = extras.require("faiss")
        vectors = checks.candidate_vectors(vectors)
        self.size, self.dim = vectors.shape
        self.leaves = leaves_for(self.size, leaves, 4.0)
        self.probes = checks.at_least_one("probes", probes)
        self.reorder = checks.at_least_one("reorder", reorder)
        self.bits = 8 if self.size >= _LEAST_FOR_BYTES else 4 if self.size >= _LEAST_CODED else 0
        codes = self.dim // 2 if self.dim % 2 == 0 else self.dim
        description = f"IVF{self.leaves},PQ{codes}x{self.bits},RFlat" if self.bits else "Flat"
        self._index = _trained(self._faiss, description, vectors)

    def search(self, queries: np.ndarray, k: int) -> TopK:
        """See `FaissIVF.search`. A large k also ranks more by true scores."""
        queries, k = checks.query_matrix(queries, self.dim), checks.neighbours(k)
        if not self.bits:
            return _top_k(self._index, queries, k)
        fetch = min(k, self.size)
        probes = probes_for(self.probes, self.leaves, self.size, k)
        parameters = self._faiss.IndexRefineSearchParameters(
            k_factor=max(_OVER * fetch, self.reorder) / fetch,
            base_index_params=self._faiss.SearchParametersIVF(nprobe=probes),
        )
        return _top_k(self._index, queries, k, parameters)

    def settings(self) -> dict[str, Any]:
        """See `CandidateIndex.settings`."""
        return {
            "kind": "faiss_ivfpq", "size": self.size, "dim": self.dim, "leaves": self.leaves,
            "probes": min(self.probes, self.leaves), "reorder": self.reorder, "bits": self.bits,
        }


class FaissHNSW:
    """HNSW: a walk over a graph of near neighbours. Slow to build, quick at high recall.

    Reference: Malkov and Yashunin, Efficient and Robust Approximate Nearest Neighbor Search Using Hierarchical
    Navigable Small World Graphs, 2018.
    """

    exact = False

    def __init__(self, vectors: np.ndarray, links: int = 16, build_width: int = 200, width: int = 200) -> None:
        """vectors: as in `FaissIVF`. links: of a node. build_width, width: nodes that a walk keeps in sight.

        `width` may be changed later.
        """
        self._faiss = extras.require("faiss")
        vectors = checks.candidate_vectors(vectors)
        self.size, self.dim = vectors.shape
        self.links, self.build_width = checks.at_least_one("links", links), checks.at_least_one("width", build_width)
        self.width = checks.at_least_one("width", width)
        self._index = self._faiss.IndexHNSWFlat(self.dim, self.links, self._faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = self.build_width
        self._index.add(vectors)

    def search(self, queries: np.ndarray, k: int) -> TopK:
        """See `CandidateIndex.search`; NumPy in and out. From k = size / 4 on, it scores all vectors.

        A walk does not reach all nodes of a graph of many equal vectors: queries with too few answers are
        searched exactly.
        """
        queries, k = checks.query_matrix(queries, self.dim), checks.neighbours(k)
        if _OVER * k >= self.size:
            return _top_k(self._index.storage, queries, k)
        parameters = self._faiss.SearchParametersHNSW(efSearch=max(self.width, _OVER * k))
        found = _top_k(self._index, queries, k, parameters)
        short = np.any(found.rows < 0, axis=1)
        if short.any():
            whole = _top_k(self._index.storage, queries[short], k)
            found.scores[short], found.rows[short] = whole.scores, whole.rows
        return found

    def settings(self) -> dict[str, Any]:
        """See `CandidateIndex.settings`."""
        return {
            "kind": "faiss_hnsw", "size": self.size, "dim": self.dim, "links": self.links,
            "build_width": self.build_width, "width": self.width,
        }


def _trained(faiss: ModuleType, description: str, vectors: np.ndarray) -> "Index":
    index = faiss.index_factory(vectors.shape[1], description, faiss.METRIC_INNER_PRODUCT)
    if description.startswith("IVF"):
        # Leaves hold 16 vectors and more here (`leaves_for`); Faiss would print that it wants 39.
        faiss.extract_index_ivf(index).cp.min_points_per_centroid = 1
    index.train(vectors)
    index.add(vectors)
    return index


def _top_k(index: "Index", queries: np.ndarray, k: int, parameters: "SearchParameters | None" = None) -> TopK:
    scores, rows = index.search(queries, k, params=parameters)
    return TopK(np.where(rows >= 0, scores, -np.inf), rows.astype(np.int32))
