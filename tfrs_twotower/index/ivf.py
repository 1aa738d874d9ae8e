"""An inverted-file index of stock TensorFlow ops, so that any TensorFlow Serving runs it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.configuration import config
from tfrs_twotower.index import checks, kmeans
from tfrs_twotower.index.candidate_index import TopK, padded
from tfrs_twotower.index.kind import IndexKind, Sweep, leaf_sweeps
from tfrs_twotower.index.leaves import leaves_for, probes_for

if TYPE_CHECKING:
    from tfrs_twotower.index.config import IndexConfig


class IVF(tf.Module):
    """Searches the `probes` leaves whose centroids score best, exactly.

    Vectors lie sorted by leaf in one matrix, with a start and an end for each leaf, so that a leaf is
    a slice and probing copies only what it scores.
    """

    exact = False

    def __init__(self, vectors: np.ndarray, leaves: int | None = None, probes: int = 16, seed: int = 0) -> None:
        """Trains the leaves and sorts the vectors.

        vectors: float32 [n, dim], finite. leaves: number of clusters; default 4 √n; at most one for 16
          vectors, and empty ones are dropped. probes: leaves searched for a query; may be changed later.
        """
        super().__init__()
        vectors = checks.candidate_vectors(vectors)
        self.size, self.dim = vectors.shape
        self.probes = checks.at_least_one("probes", probes)
        centroids = kmeans.train(vectors, leaves_for(self.size, leaves, 4.0), seed)
        leaf = kmeans.assign(vectors, centroids)
        counts = np.bincount(leaf, minlength=len(centroids))
        centroids, counts = centroids[counts > 0], counts[counts > 0]
        self.leaves = len(counts)
        order = np.argsort(leaf, kind="stable").astype(np.int32)
        ends = np.cumsum(counts).astype(np.int32)
        self.vectors = tf.Variable(vectors[order], trainable=False, name="vectors")
        self.rows = tf.Variable(np.append(order, np.int32(-1)), trainable=False, name="rows")
        self.centroids = tf.Variable(centroids, trainable=False, name="centroids")
        self.starts = tf.Variable(ends - counts.astype(np.int32), trainable=False, name="starts")
        self.ends = tf.Variable(ends, trainable=False, name="ends")

    def search(self, queries: tf.Tensor, k: int | tf.Tensor) -> TopK:
        """See `CandidateIndex.search`. A large k probes more leaves; from k = size / 4 on, all of them."""
        queries, k = checks.query_vectors(queries, self.dim), checks.neighbours(k)
        near = tf.matmul(queries, self.centroids, transpose_b=True)
        leaves = tf.math.top_k(near, probes_for(self.probes, self.leaves, self.size, k), sorted=False).indices
        scores, positions = self._search_leaves(queries, leaves, tf.convert_to_tensor(k))
        batch = tf.shape(queries)[0]
        return padded(scores[:batch], tf.gather(self.rows, positions[:batch]), k)

    def settings(self) -> dict[str, Any]:
        return {
            "kind": "ivf", "size": self.size, "dim": self.dim,
            "leaves": self.leaves, "probes": min(self.probes, self.leaves),
        }

    # A function, as map_fn is slow outside of a graph; k is a tensor in it, so one trace serves all.
    @tf.function(input_signature=[
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([], tf.int32),
    ], autograph=False)
    def _search_leaves(self, queries: tf.Tensor, leaves: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # An empty batch is searched as one of zeros: map_fn can't stack nothing to [0, k].
        none = [[0, tf.cast(tf.equal(tf.shape(queries)[0], 0), tf.int32)], [0, 0]]
        queries, leaves = tf.pad(queries, none), tf.pad(leaves, none)
        return tf.map_fn(
            lambda one: self._search_slices(one[0], one[1], one[2], k),
            (queries, tf.gather(self.starts, leaves), tf.gather(self.ends, leaves)),
            fn_output_signature=(tf.float32, tf.int32),
            parallel_iterations=4,
        )

    def _search_slices(
        self, query: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor, k: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One query [dim] over slices of `vectors`: scores [k], positions [k]; else −inf and `size`."""
        positions = tf.ragged.range(starts, ends).flat_values
        scores = tf.linalg.matvec(tf.gather(self.vectors, positions), query)
        best = tf.math.top_k(scores, tf.minimum(k, tf.size(scores)))
        missing = [[0, k - tf.size(best.values)]]
        return (
            tf.pad(best.values, missing, constant_values=float("-inf")),
            tf.pad(tf.gather(positions, best.indices), missing, constant_values=self.size),
        )


@config
class IVFKind(IndexKind):
    """"ivf": stock ops, in the SavedModel. Its probes are tuned."""

    name = "ivf"

    def build(self, vectors: np.ndarray, settings: "IndexConfig", seed: int = 0) -> IVF:
        """See `IndexKind.build`."""
        return IVF(vectors, settings.leaves, seed=seed)

    def sweeps(self, index: IVF, settings: "IndexConfig") -> Sequence[Sweep]:
        """See `IndexKind.sweeps`."""
        return leaf_sweeps(index, settings, lambda probes, reorder: setattr(index, "probes", probes))

    def memory_bytes(self, shape: tuple[int, int], leaves: int | None = None) -> int:
        """The vectors, their rows and the leaves."""
        size, dim = shape
        return 4 * size * dim + 4 * size + leaves_for(size, leaves, 4.0) * (4 * dim + 8)
