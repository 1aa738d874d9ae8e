"""Our indexes with the interface of `tfrs.layers.factorized_top_k`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_twotower.errors import IndexingError, invalid
from tfrs_twotower.ids import missing_id
from tfrs_twotower.index import tuning
from tfrs_twotower.index.candidate_index import CandidateIndex, TopK
from tfrs_twotower.index.config import IndexConfig
from tfrs_twotower.index.exclusion import exclude


class IndexTopK(tfrs.layers.factorized_top_k.TopK):
    """A drop-in for TFRS's `BruteForce` and `ScaNN` layers, backed by the index of an `IndexConfig`.

    If fewer than k candidates are found, the rest is the missing id ("" or −1) with the lowest float32. That is finite,
    because TFRS's metrics subtract scores.

    config: IndexConfig. query_model: turns raw features into query vectors; none: `call` takes vectors.
    k: the default of `call`. queries: float32 [q, dim], held-out query vectors to tune an approximate
    index with; by default candidates are used as queries.
    """

    _candidates: CandidateIndex | None
    _identifiers: tf.Variable | None
    _codes: tf.Variable | None

    def __init__(
        self, config: IndexConfig = IndexConfig(), query_model: Callable[[Any], tf.Tensor] | None = None, k: int = 10,
        queries: np.ndarray | tf.Tensor | None = None, seed: int = 0, name: str | None = None,
    ) -> None:
        super().__init__(k=k, name=name)
        self.query_model = query_model
        self.report: dict[str, Any] | None = None  # IndexReport of the last `index`
        self._config, self._queries, self._seed = config, queries, seed
        self._candidates = self._identifiers = self._codes = None

    def index(
        self, candidates: np.ndarray | tf.Tensor, identifiers: np.ndarray | tf.Tensor | None = None
    ) -> "IndexTopK":
        """Builds the index, in place of an earlier one. Returns self.

        candidates: float32 [n, dim]. identifiers: string, int32 or int64 [n]; default: the row, int32.
        """
        if identifiers is None:
            identifiers = tf.range(tf.shape(candidates)[0])
        identifiers = tf.convert_to_tensor(identifiers)
        if identifiers.dtype not in (tf.string, tf.int32, tf.int64) or identifiers.shape != [len(candidates)]:
            raise IndexingError(
                invalid("identifiers", f"be string, int32 or int64 of shape [{len(candidates)}]",
                        (identifiers.dtype.name, tuple(identifiers.shape)), "Pass one id per candidate.")
            )
        self._candidates, report = tuning.build(self._config, candidates, self._queries, self._seed)
        self.report = report.to_dict()
        codes = _codes(identifiers).numpy()
        # The largest number of rows with one id, which an exclusion removes from the answer.
        self._repeats = int(np.unique(codes, return_counts=True)[1].max())
        self._identifiers = tf.Variable(identifiers, trainable=False, name="identifiers")
        self._codes = tf.Variable(codes, trainable=False, name="codes")
        self._reset_tf_function_cache()
        return self

    def call(self, queries: tf.Tensor | Mapping[str, tf.Tensor], k: int | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (scores float32 [batch, k], identifiers [batch, k])."""
        return self._named(self._search(queries, self._k if k is None else k))

    @tf.function
    def query_with_exclusions(
        self, queries: tf.Tensor | Mapping[str, tf.Tensor], exclusions: tf.Tensor, k: int | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`call` without the identifiers in `exclusions`, [batch, any]; unknown ones are harmless."""
        k = self._k if k is None else k
        found = self._search(queries, k + self._repeats * tf.shape(exclusions)[1])
        codes = tf.gather(self._codes, tf.maximum(found.rows, 0))
        return self._named(exclude(found, _codes(exclusions), k, codes))

    def is_exact(self) -> bool:
        return self._indexed().exact

    def _indexed(self) -> CandidateIndex:
        if self._candidates is None:
            raise ValueError("The `index` method must be called first to create the retrieval index.")
        return self._candidates

    def _search(self, queries: tf.Tensor | Mapping[str, tf.Tensor], k: int | tf.Tensor) -> TopK:
        index = self._indexed()
        return index.search(queries if self.query_model is None else self.query_model(queries), k)

    def _named(self, found: TopK) -> tuple[tf.Tensor, tf.Tensor]:
        ids = tf.gather(self._identifiers, tf.maximum(found.rows, 0))
        ids = tf.where(found.rows < 0, tf.constant(missing_id(ids.dtype), ids.dtype), ids)
        return tf.maximum(found.scores, tf.float32.min), ids


def _codes(identifiers: tf.Tensor) -> tf.Tensor:
    """int64 codes to compare ids by. Strings are hashed: two of a thousand collide once in 10^13 times."""
    if identifiers.dtype == tf.string:
        return tf.strings.to_hash_bucket_fast(identifiers, 2**63 - 1)
    return tf.cast(identifiers, tf.int64)
