"""Recall of an index against exact search, and the time of one query."""

import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfrs_twotower.ids import missing_id
from tfrs_twotower.index.candidate_index import CandidateIndex, TopK
from tfrs_twotower.index.exact import Exact
from tfrs_twotower.index.milvus import MilvusIndex

_PART = 256  # queries searched at a time


class _Searched(Protocol):
    def search(self, queries: np.ndarray, k: int, /) -> TopK: ...


def per_query(index: _Searched, truth: np.ndarray, vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """The share of the true min(k, n) best that `index` finds, for each query: float64 [q].

    truth: float32 [q, ≥ k], the scores of exact search, descending. The true score of a found row decides, computed
    here, so that a duplicate or a tie counts as found.
    """
    k = min(k, len(vectors), truth.shape[1])
    found = []
    for start in range(0, len(queries), _PART):
        part = queries[start:start + _PART]
        rows = np.asarray(index.search(part, k).rows)
        scores = np.einsum("qkd,qd->qk", vectors[rows], part)
        floor = truth[start:start + _PART, k - 1:k]
        good = scores >= floor - 1e-5 * np.maximum(np.abs(floor), 1e-3)
        found.append(np.mean(good & (rows >= 0), axis=1))
    return np.concatenate(found)


def of_items(index: MilvusIndex, ids: Sequence[Any], vectors: np.ndarray, queries: np.ndarray, k: int) -> float:
    """Recall at k of an index by item id, averaged over queries: the check of an engine that tunes itself.

    ids, vectors: all items that it holds, n and [n, dim]. queries: float32 [q, dim].
    """
    row = {key: i for i, key in enumerate(ids)}
    row[missing_id(index.id_type)] = -1

    class Rows:
        def search(self, part: np.ndarray, count: int) -> TopK:
            found = index.search(part, count)
            return TopK(found.scores, np.vectorize(row.__getitem__, otypes=[np.int64])(found.ids))

    truth = true_scores(Exact(vectors), queries, k)
    return float(per_query(Rows(), truth, vectors, queries, k).mean())


def true_scores(exact: Exact, queries: np.ndarray, k: int) -> np.ndarray:
    """Scores of exact search, [q, min(k, n)]."""
    k = min(k, exact.size)
    parts = [exact.search(queries[i:i + _PART], k).scores.numpy() for i in range(0, len(queries), _PART)]
    return np.concatenate(parts)


def latency(index: CandidateIndex, queries: np.ndarray, k: int, repeats: int = 200) -> tuple[float, ...]:
    """Milliseconds of one query: (median, 99th percentile), called from Python; an index for graphs is traced."""
    traced = isinstance(index, tf.Module)

    def search(query: np.ndarray | tf.Tensor) -> TopK:
        return index.search(query, k)

    if traced:
        search = tf.function(search, input_signature=[tf.TensorSpec([1, index.dim], tf.float32)], autograph=False)
    seconds = []
    for i in range(repeats + 10):
        query = queries[i % len(queries)][np.newaxis]
        query = tf.constant(query) if traced else query
        start = time.perf_counter()
        search(query)
        seconds.append(time.perf_counter() - start)
    return tuple(float(q) for q in np.quantile(seconds[10:], [0.5, 0.99]) * 1e3)
