"""Faiss behind the same search: inverted files with and without product codes, and HNSW graphs.

These are not `tf.Module`s, so no SavedModel can hold them. The server, a benchmark or a user's program searches them by
vector, with NumPy arrays in and out. Faiss itself runs a batch on several threads.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_twotower import extras
from tfrs_twotower.configuration import config
from tfrs_twotower.index import checks
from tfrs_twotower.index.candidate_index import TopK
from tfrs_twotower.index.kind import SERVER, IndexKind, Sweep, leaf_sweeps
from tfrs_twotower.index.leaves import leaves_for, probes_for
from tfrs_twotower.index.scann import reorders
from tfrs_twotower.ranges import Count

if TYPE_CHECKING:
    from faiss import Index, SearchParameters

    from tfrs_twotower.index.config import IndexConfig

_OVER = 4  # candidates by codes, or met in the graph, for one that is returned
_LEAST_CODED = 39 * 16  # vectors that Faiss needs for the 16 centroids of a code of 4 bits
_LEAST_FOR_BYTES = 39 * 256  # the same for the 256 centroids of 8 bits
_INDEX, _SETTINGS = "index.faiss", "settings.json"


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
        """vectors: as in `FaissIVF`. links: of a node. build_width, width: candidate nodes of a walk.

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

        In a graph of many equal vectors, a walk does not reach all nodes. Queries with too few answers are
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


class _FaissKind(IndexKind):
    """Base of the kinds of Faiss: their files are Faiss's own and the settings."""

    place = SERVER
    index_class: Any

    def save(self, index: Any, folder: Path) -> None:
        """See `IndexKind.save`."""
        extras.require("faiss").write_index(index._index, str(folder / _INDEX))
        (folder / _SETTINGS).write_text(json.dumps(index.settings()), encoding="utf-8")

    def load(self, folder: Path) -> Any:
        """See `IndexKind.load`."""
        index, faiss = self.index_class.__new__(self.index_class), extras.require("faiss")
        with checks.readable(folder / _SETTINGS):
            settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
            vars(index).update({name: int(value) for name, value in settings.items() if name != "kind"})
            if index.settings() != settings:
                raise ValueError(f"settings of {settings['kind']}, which differ from {index.settings()}")
        with checks.readable(folder / _INDEX):
            index._faiss, index._index = faiss, faiss.read_index(str(folder / _INDEX))
            if (index._index.ntotal, index._index.d) != (index.size, index.dim):
                raise ValueError(f"{index._index.ntotal} vectors of {index._index.d} numbers, not as in {_SETTINGS}")
        return index


@config
class FaissIVFKind(_FaissKind):
    """"faiss_ivf": beside the SavedModel. Its probes are tuned."""

    name, index_class = "faiss_ivf", FaissIVF

    def build(self, vectors: np.ndarray, settings: "IndexConfig", seed: int = 0) -> FaissIVF:
        """See `IndexKind.build`."""
        return FaissIVF(vectors, settings.leaves)

    def sweeps(self, index: FaissIVF, settings: "IndexConfig") -> Sequence[Sweep]:
        """See `IndexKind.sweeps`."""
        return leaf_sweeps(index, settings, lambda probes, reorder: setattr(index, "probes", probes))

    def memory_bytes(self, shape: tuple[int, int], leaves: int | None = None) -> int:
        """The vectors, eight bytes for each one's row, and the centroids."""
        size, dim = shape
        return size * (4 * dim + 8) + leaves_for(size, leaves, 4.0) * 4 * dim


@config
class FaissIVFPQKind(_FaissKind):
    """"faiss_ivfpq": beside the SavedModel. Its probes and its reordering are tuned."""

    name, index_class = "faiss_ivfpq", FaissIVFPQ

    def build(self, vectors: np.ndarray, settings: "IndexConfig", seed: int = 0) -> FaissIVFPQ:
        """See `IndexKind.build`."""
        return FaissIVFPQ(vectors, settings.leaves, reorder=reorders(settings)[0])

    def sweeps(self, index: FaissIVFPQ, settings: "IndexConfig") -> Sequence[Sweep]:
        """See `IndexKind.sweeps`."""

        def turn(probes: int, reorder: int) -> None:
            index.probes, index.reorder = probes, reorder

        return leaf_sweeps(index, settings, turn, reorders(settings)) if index.bits else ()

    def memory_bytes(self, shape: tuple[int, int], leaves: int | None = None) -> int:
        """As `FaissIVFKind`, and the codes: a byte for each two dimensions."""
        size, dim = shape
        return size * (4 * dim + 8 + (dim + 1) // 2) + leaves_for(size, leaves, 4.0) * 4 * dim


@config
class FaissHNSWKind(_FaissKind):
    """"faiss_hnsw": beside the SavedModel. Its width is tuned.

    links: of a node of the graph. build_width: candidate nodes while it is built.
    """

    name, index_class = "faiss_hnsw", FaissHNSW
    links: Count = 16
    build_width: Count = 200

    def build(self, vectors: np.ndarray, settings: "IndexConfig", seed: int = 0) -> FaissHNSW:
        """See `IndexKind.build`."""
        return FaissHNSW(vectors, self.links, self.build_width)

    def sweeps(self, index: FaissHNSW, settings: "IndexConfig") -> Sequence[Sweep]:
        """See `IndexKind.sweeps`."""
        least = min(_OVER * settings.k, index.size)  # smallest number of candidate nodes of a search
        return [Sweep(least, index.size, lambda width: setattr(index, "width", width), float)]

    def memory_bytes(self, shape: tuple[int, int], leaves: int | None = None) -> int:
        """The vectors, and four bytes for each link: twice as many on the lowest level."""
        size, dim = shape
        return size * (4 * dim + 4 * (2 * self.links + 1) + 16)


def _trained(faiss: ModuleType, description: str, vectors: np.ndarray) -> "Index":
    index = faiss.index_factory(vectors.shape[1], description, faiss.METRIC_INNER_PRODUCT)
    if description.startswith("IVF"):
        # Leaves hold 16 vectors and more here (`leaves_for`); Faiss would print a warning below 39.
        faiss.extract_index_ivf(index).cp.min_points_per_centroid = 1
    index.train(vectors)
    index.add(vectors)
    return index


def _top_k(index: "Index", queries: np.ndarray, k: int, parameters: "SearchParameters | None" = None) -> TopK:
    scores, rows = index.search(queries, k, params=parameters)
    return TopK(np.where(rows >= 0, scores, -np.inf), rows.astype(np.int32))
