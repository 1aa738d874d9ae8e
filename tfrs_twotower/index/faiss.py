"""Faiss behind the same search: inverted files with and without product codes, and HNSW graphs.

These are not `tf.Module`s, so no SavedModel can hold them. The server, a benchmark or a user's program searches them by
vector, with NumPy arrays in and out. Faiss itself runs a batch on several threads.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

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
# {how an index stores its vectors: (Faiss's name of it, bytes of a number)}
_STORES = {"float32": ("Flat", 4), "bfloat16": ("SQbf16", 2), "int8": ("SQ8", 1)}
Store = Literal["float32", "bfloat16", "int8"]


class FaissIVF:
    """IVF-Flat: the `probes` leaves whose centroids score best are searched exactly."""

    exact = False

    def __init__(
        self, vectors: np.ndarray, leaves: int | None = None, probes: int = 16, store: Store = "float32"
    ) -> None:
        """vectors: float32 [n, dim], finite. leaves: default 4 √n; at most one for 16 vectors. store: of a number.

        Raises:
          MissingExtraError: Faiss is not installed. IndexingError: see `checks`.
        """
        self._faiss = extras.require("faiss")
        vectors = checks.candidate_vectors(vectors)
        self.size, self.dim = vectors.shape
        self.leaves = leaves_for(self.size, leaves, 4.0)
        self.probes, self.store = checks.at_least_one("probes", probes), store
        self._index = _trained(self._faiss, f"IVF{self.leaves},{_STORES[store][0]}", vectors)

    def search(self, queries: np.ndarray, k: int) -> TopK:
        """See `CandidateIndex.search`; NumPy in and out. A large k probes more leaves; from size / 4 on, all."""
        queries, k = checks.query_matrix(queries, self.dim), checks.neighbours(k)
        probes = probes_for(self.probes, self.leaves, self.size, k)
        return _top_k(self._index, queries, k, self._faiss.SearchParametersIVF(nprobe=probes))

    def settings(self) -> dict[str, Any]:
        """See `CandidateIndex.settings`."""
        probes = min(self.probes, self.leaves)
        return {"kind": "faiss_ivf", "size": self.size, "dim": self.dim, "leaves": self.leaves, "probes": probes,
                **_said(self.store)}


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

    def __init__(
        self, vectors: np.ndarray, links: int = 16, build_width: int = 200, width: int = 200, store: Store = "float32"
    ) -> None:
        """vectors, store: as in `FaissIVF`. links: of a node. build_width, width: candidate nodes of a walk.

        `width` may be changed later.
        """
        self._faiss = extras.require("faiss")
        vectors = checks.candidate_vectors(vectors)
        self.size, self.dim = vectors.shape
        self.links, self.build_width = checks.at_least_one("links", links), checks.at_least_one("width", build_width)
        self.width, self.store = checks.at_least_one("width", width), store
        description = f"HNSW{self.links},{_STORES[store][0]}"
        self._index = self._faiss.index_factory(self.dim, description, self._faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = self.build_width
        self._index.train(vectors)
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
            "build_width": self.build_width, "width": self.width, **_said(self.store),
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
            numbers = {name: int(value) for name, value in settings.items() if name not in ("kind", "store")}
            vars(index).update(numbers, store=settings.get("store", "float32"))
            if index.settings() != settings:
                raise ValueError(f"settings of {settings['kind']}, which differ from {index.settings()}")
        with checks.readable(folder / _INDEX):
            index._faiss, index._index = faiss, faiss.read_index(str(folder / _INDEX))
            if (index._index.ntotal, index._index.d) != (index.size, index.dim):
                raise ValueError(f"{index._index.ntotal} vectors of {index._index.d} numbers, not as in {_SETTINGS}")
        return index


class _StoredKind(_FaissKind):
    """Base of the kinds whose vectors are stored in one of several ways."""

    @classmethod
    def at(cls, address: str) -> "IndexKind":
        """The kind with a store, as in "faiss_ivf:int8"."""
        return cls(store=address)  # type: ignore[call-arg]  # a field of the kinds


@config
class FaissIVFKind(_StoredKind):
    """"faiss_ivf": beside the SavedModel. Its probes are tuned.

    store: how a number of a vector is stored. Fewer bytes take less memory and find a little less: "faiss_ivf:int8".
    """

    name, index_class = "faiss_ivf", FaissIVF
    store: Store = "float32"

    def build(self, vectors: np.ndarray, settings: "IndexConfig", seed: int = 0) -> FaissIVF:
        """See `IndexKind.build`."""
        return FaissIVF(vectors, settings.leaves, store=self.store)

    def sweeps(self, index: FaissIVF, settings: "IndexConfig") -> Sequence[Sweep]:
        """See `IndexKind.sweeps`."""
        return leaf_sweeps(index, settings, lambda probes, reorder: setattr(index, "probes", probes))

    def memory_bytes(self, shape: tuple[int, int], leaves: int | None = None) -> int:
        """The vectors, eight bytes for each one's row, and the centroids."""
        size, dim = shape
        return size * (_STORES[self.store][1] * dim + 8) + leaves_for(size, leaves, 4.0) * 4 * dim


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
class FaissHNSWKind(_StoredKind):
    """"faiss_hnsw": beside the SavedModel. Its width is tuned.

    links: of a node of the graph. build_width: candidate nodes while it is built. store: as in `FaissIVFKind`.
    """

    name, index_class = "faiss_hnsw", FaissHNSW
    links: Count = 16
    build_width: Count = 200
    store: Store = "float32"

    def build(self, vectors: np.ndarray, settings: "IndexConfig", seed: int = 0) -> FaissHNSW:
        """See `IndexKind.build`."""
        return FaissHNSW(vectors, self.links, self.build_width, store=self.store)

    def sweeps(self, index: FaissHNSW, settings: "IndexConfig") -> Sequence[Sweep]:
        """See `IndexKind.sweeps`."""
        least = min(_OVER * settings.k, index.size)  # smallest number of candidate nodes of a search
        return [Sweep(least, index.size, lambda width: setattr(index, "width", width), float)]

    def memory_bytes(self, shape: tuple[int, int], leaves: int | None = None) -> int:
        """The vectors, and four bytes for each link: twice as many on the lowest level."""
        size, dim = shape
        return size * (_STORES[self.store][1] * dim + 4 * (2 * self.links + 1) + 16)


def _trained(faiss: ModuleType, description: str, vectors: np.ndarray) -> "Index":
    index = faiss.index_factory(vectors.shape[1], description, faiss.METRIC_INNER_PRODUCT)
    if description.startswith("IVF"):
        # Leaves hold 16 vectors and more here (`leaves_for`); Faiss would print a warning below 39.
        faiss.extract_index_ivf(index).cp.min_points_per_centroid = 1
    index.train(vectors)
    index.add(vectors)
    return index


def _said(store: str) -> dict[str, str]:
    """The store among an index's settings; files of earlier versions have none, and it is float32."""
    return {} if store == "float32" else {"store": store}


def _top_k(index: "Index", queries: np.ndarray, k: int, parameters: "SearchParameters | None" = None) -> TopK:
    scores, rows = index.search(queries, k, params=parameters)
    return TopK(np.where(rows >= 0, scores, -np.inf), rows.astype(np.int32))
