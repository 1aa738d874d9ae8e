"""Exact search: one matrix product and a block-max top-k."""

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.configuration import config
from tfrs_twotower.index import checks
from tfrs_twotower.index.candidate_index import TopK, top_k
from tfrs_twotower.index.kind import IndexKind
from tfrs_twotower.scores import BLOCK

if TYPE_CHECKING:
    from tfrs_twotower.index.config import IndexConfig

# The largest score matrix, in floats (256 MB): larger batches of queries are searched in parts.
_MAX_SCORES = 1 << 26


class Exact(tf.Module):
    """Finds the true k best, ties in favour of the lower row. Stock ops; the default for small catalogues."""

    exact = True

    def __init__(self, vectors: np.ndarray) -> None:
        """vectors: float32 [n, dim], finite. Raises `IndexingError` otherwise."""
        super().__init__()
        vectors = checks.candidate_vectors(vectors)
        self.size, self.dim = vectors.shape
        filler = -self.size % BLOCK
        self.vectors = tf.Variable(np.pad(vectors, [(0, filler), (0, 0)]), trainable=False, name="vectors")

    def search(self, queries: tf.Tensor, k: int | tf.Tensor) -> TopK:
        """See `CandidateIndex.search`."""
        queries, k = checks.query_vectors(queries, self.dim), checks.neighbours(k)
        part = max(1, _MAX_SCORES // self.vectors.shape[0])
        found = tf.cond(
            tf.shape(queries)[0] <= part,
            lambda: self._search(queries, k),
            lambda: self._search_in_parts(queries, k, part),
        )
        shape = [None, k if isinstance(k, int) else None]
        return TopK(*(tf.ensure_shape(values, shape) for values in found))

    def settings(self) -> dict[str, Any]:
        return {"kind": "exact", "size": self.size, "dim": self.dim}

    def _search(self, queries: tf.Tensor, k: int | tf.Tensor) -> TopK:
        return top_k(tf.matmul(queries, self.vectors, transpose_b=True), k, self.size)

    def _search_in_parts(self, queries: tf.Tensor, k: int | tf.Tensor, part: int) -> TopK:
        batch = tf.shape(queries)[0]
        parts = (batch + part - 1) // part
        queries = tf.pad(queries, [[0, parts * part - batch], [0, 0]])
        found = tf.map_fn(
            lambda rows: self._search(rows, k),
            tf.reshape(queries, [parts, part, self.dim]),
            fn_output_signature=TopK(tf.float32, tf.int32),
            parallel_iterations=1,
        )
        return TopK(*(tf.reshape(values, [parts * part, k])[:batch] for values in found))


@config
class ExactKind(IndexKind):
    """"exact": stock ops, in the SavedModel."""

    name = "exact"

    def build(self, vectors: np.ndarray, settings: "IndexConfig", seed: int = 0) -> Exact:
        """See `IndexKind.build`."""
        return Exact(vectors)
