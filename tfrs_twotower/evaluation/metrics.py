"""The metrics of each query, and those of the whole set of recommendations."""

from collections.abc import Sequence

import numpy as np

from tfrs_twotower.data import log_popularity
from tfrs_twotower.evaluation.ranking import Ranking
from tfrs_twotower.evaluation.views import query_rows


def per_query(ranking: Ranking, ks: Sequence[int], counted: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Relevance metrics of each query at each K.

    `recall@K`: the number of targets among the first K, divided by the number of targets (not by min(K, targets)).
    `hit_rate@K`: 1 if at least one target is among the first K.
    `ndcg@K`: Σ 1/log2(1 + rank) over the targets among the first K, divided by the same sum for ranks
    1 … min(K, targets) (Järvelin and Kekäläinen 2002, binary gain).
    A target outside the catalogue is always a miss.

    Args:
      ranking: a `Ranking` at least as deep as the largest K.
      ks: the cut-offs.
      counted: bool [targets] or None: only these count as targets. The others are ignored, but keep their ranks.

    Returns:
      {name: float64 [q]}; NaN for a query without a counted target.
    """
    rows, size = query_rows(ranking.targets), len(ranking.first_rank)
    if counted is None:
        counted = np.ones(len(rows), bool)
    number = np.bincount(rows, counted, minlength=size)
    some = np.where(number > 0, number, np.nan)
    gains = 1.0 / np.log2(1.0 + ranking.ranks)
    ideal = np.concatenate([[np.nan], np.cumsum(1.0 / np.log2(2.0 + np.arange(max(ks))))])
    metrics = {}
    for k in ks:
        found = counted & (ranking.ranks <= k)
        hits = np.bincount(rows, found, minlength=size)
        metrics[f"recall@{k}"] = hits / some
        metrics[f"hit_rate@{k}"] = np.where(number > 0, hits > 0, np.nan)
        dcg = np.bincount(rows, gains * found, minlength=size)
        metrics[f"ndcg@{k}"] = dcg / ideal[np.minimum(k, number).astype(int)]
    return metrics


def reciprocal_rank(ranking: Ranking) -> np.ndarray:
    """float64 [q]: 1 / rank of the best target at any depth; 0 if none is in the catalogue. Mean: MRR.

    NaN for a query without a target.
    """
    first = ranking.first_rank
    return np.where(asked(ranking), np.where(first > 0, 1.0 / np.maximum(first, 1), 0.0), np.nan)


def asked(ranking: Ranking) -> np.ndarray:
    """bool [q]: whether a query has a target."""
    return ranking.targets.lengths > 0


def novelty(ranking: Ranking, k: int, train_counts: np.ndarray | Sequence[int]) -> np.ndarray:
    """float64 [q]: mean of −log2 p(item) over the first K recommendations; NaN without any, or without a target.

    p(item) of `log_popularity`, of training counts.
    """
    surprise = -log_popularity(train_counts) / np.log(2)
    top = ranking.top[:, :k]
    given = (top >= 0) & asked(ranking)[:, None]
    total = np.where(given, surprise[top], 0.0).sum(axis=1)
    return total / np.where(given.any(axis=1), given.sum(axis=1), np.nan)


def coverage(ranking: Ranking, k: int) -> float:
    """Distinct candidates among the first K of all queries with a target, over the catalogue's size."""
    top = ranking.top[asked(ranking), :k]
    given = np.zeros(ranking.catalogue + 1, bool)
    given[top] = True  # −1 is the place after the last
    return int(given[:-1].sum()) / ranking.catalogue
