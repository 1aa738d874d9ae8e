"""ScaNN's TensorFlow ops as an index: fast, and held by a SavedModel."""

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import tensorflow as tf

from tfrs_twotower import extras
from tfrs_twotower.configuration import config
from tfrs_twotower.index import checks, kmeans
from tfrs_twotower.index.candidate_index import TopK, padded
from tfrs_twotower.index.kind import IndexKind, Sweep, leaf_sweeps
from tfrs_twotower.index.leaves import leaves_for, probes_for

if TYPE_CHECKING:
    from scann.scann_ops.py.scann_ops import ScannSearcher

    from tfrs_twotower.index.config import IndexConfig

# With fewer vectors, ScaNN scores all: partitions and codes cannot be learned from them.
_LEAST_PARTITIONED = 256
# Codes rank about this many times k before true scores rank the rest.
_OVER = 4
_SAMPLE = 128  # vectors a leaf to train on
# Reordering to try, as multiples of k: from the usual need to that of poor codes.
_REORDER = (4, 8, 16)

_Loaded = TypeVar("_Loaded")


class ScaNN(tf.Module):
    """Partition, score by anisotropic codes, reorder by true inner products.

    TFRS's own layer keeps ScaNN's defaults (100k training vectors, partitions of 50 or more, no
    reordering, no anisotropic loss), which cost most of the recall.

    Save with `tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])`; load after `import scann`. A process that
    loads again and again frees the searchers by `searchers_end_with`.
    Each traced function that calls `search` holds one copy of the searcher from its first run on.
    Reference: Guo et al., Accelerating Large-Scale Inference with Anisotropic Vector Quantization, 2020.
    """

    exact = False

    def __init__(self, vectors: np.ndarray, leaves: int | None = None, leaves_to_search: int = 20, reorder: int = 400,
                 anisotropic_threshold: float = 0.2, spherical: bool | None = None) -> None:
        """Trains and fills the index.

        vectors: float32 [n, dim], finite. leaves: default 2 √n, at most one for 16 vectors.
        leaves_to_search, reorder: what a search visits and re-scores at least; may be changed later.
        spherical: cluster directions; default: when all vectors have norm 1.

        Raises:
          MissingExtraError: scann is not installed. IndexingError: see `checks`.
        """
        super().__init__()
        self._ops = extras.require("scann").scann_ops
        vectors = checks.candidate_vectors(vectors)
        self.size, self.dim = vectors.shape
        self.leaves = leaves_for(self.size, leaves, 2.0) if self.size >= _LEAST_PARTITIONED else 1
        self.leaves_to_search = checks.at_least_one("leaves_to_search", leaves_to_search)
        self.reorder = checks.at_least_one("reorder", reorder)
        self.anisotropic_threshold = anisotropic_threshold
        self.spherical = kmeans.is_unit(vectors) if spherical is None else spherical
        searcher = self._build(vectors)
        self.state = searcher.serialize_to_module()
        # The op's resource outlives its handle, and with it a copy of the vectors.
        _destroy(searcher.searcher_handle)

    def search(self, queries: tf.Tensor, k: int | tf.Tensor) -> TopK:
        """See `CandidateIndex.search`. A large k visits and reorders more; from k = size / 4 on, all."""
        queries, k = checks.query_vectors(queries, self.dim), checks.neighbours(k)
        fetch = tf.minimum(k, self.size)
        searcher = self._ops.searcher_from_module(self.state)
        found = searcher.search_batched_parallel(
            queries,
            final_num_neighbors=fetch,
            pre_reorder_num_neighbors=tf.maximum(_OVER * fetch, self.reorder),
            leaves_to_search=probes_for(self.leaves_to_search, self.leaves, self.size, k),
        )
        # ScaNN returns row 0 with a NaN score if it finds too few.
        scores = tf.where(tf.math.is_nan(found.distances), float("-inf"), found.distances)
        return padded(scores, found.indices, k)

    def settings(self) -> dict[str, Any]:
        return {
            "kind": "scann", "size": self.size, "dim": self.dim, "leaves": self.leaves,
            "leaves_to_search": min(self.leaves_to_search, self.leaves), "reorder": self.reorder,
            "anisotropic_threshold": self.anisotropic_threshold, "spherical": self.spherical,
        }

    def _build(self, vectors: np.ndarray) -> "ScannSearcher":
        builder = self._ops.builder(vectors, min(self.size, 10), "dot_product")
        if self.size < _LEAST_PARTITIONED:
            return builder.score_brute_force().build()
        builder = builder.tree(
            num_leaves=self.leaves,
            num_leaves_to_search=min(self.leaves_to_search, self.leaves),
            training_sample_size=min(self.size, max(100_000, _SAMPLE * self.leaves)),
            min_partition_size=1,
            spherical=self.spherical,
        )
        builder = builder.score_ah(
            dimensions_per_block=min(2, self.dim),
            anisotropic_quantization_threshold=self.anisotropic_threshold,
        )
        return builder.reorder(self.reorder).build()


@config
class ScaNNKind(IndexKind):
    """"scann": ScaNN's custom op, in the SavedModel. Its probes and its reordering are tuned."""

    name, op_library, op_namespace = "scann", "scann", "Scann"

    def build(self, vectors: np.ndarray, settings: "IndexConfig", seed: int = 0) -> ScaNN:
        """See `IndexKind.build`."""
        return ScaNN(vectors, settings.leaves, reorder=reorders(settings)[0])

    def sweeps(self, index: ScaNN, settings: "IndexConfig") -> Sequence[Sweep]:
        """See `IndexKind.sweeps`."""

        def turn(probes: int, reorder: int) -> None:
            index.leaves_to_search, index.reorder = probes, reorder

        return leaf_sweeps(index, settings, turn, reorders(settings))

    def memory_bytes(self, shape: tuple[int, int], leaves: int | None = None) -> int:
        """The vectors twice (the saved state and the searcher that runs), with half a byte for each two dimensions
        and four for the leaf, and the leaves. One more traced function that searches adds one more searcher."""
        size, dim = shape
        codes = size * ((dim + 1) // 2) // 2
        return 2 * (4 * size * dim + codes + 4 * size + leaves_for(size, leaves, 2.0) * 4 * dim)


def searchers_end_with(loaded: _Loaded) -> _Loaded:
    """Frees ScaNN's searchers of a loaded SavedModel when `loaded` is no longer used, as its variables are.

    TensorFlow's loader gives each searcher a name that all functions of the SavedModel share. By this name it stays in
    the process, with a copy of the vectors, until it is destroyed. The searchers are built here, not at the first
    search.

    Args:
      loaded: the result of `tf.saved_model.load`, with or without searchers.

    Returns:
      `loaded`
    """
    for part in tf.train.TrackableView(loaded).descendants():
        if hasattr(part, "recreate_handle"):  # a `ScannState`
            weakref.finalize(loaded, _destroy, part.recreate_handle()).atexit = False
    return loaded


def _destroy(searcher: tf.Tensor) -> None:
    """Frees the searcher of a handle. A search that has begun ends first."""
    with tf.init_scope():  # the garbage collector may run while a graph is traced
        tf.raw_ops.DestroyResourceOp(resource=searcher, ignore_lookup_error=True)


def reorders(settings: "IndexConfig") -> tuple[int, ...]:
    """Numbers of vectors to re-score by true inner products that are worth trying, or the one that is set."""
    return (settings.reorder,) if settings.reorder else tuple(m * settings.k for m in _REORDER)
