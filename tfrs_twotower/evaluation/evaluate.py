"""`evaluate`: exact metrics of a model or a baseline, with intervals and slices."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.errors import EvaluationError, invalid
from tfrs_twotower.evaluation import metrics as measures
from tfrs_twotower.evaluation.bootstrap import intervals
from tfrs_twotower.evaluation.parts import Parts
from tfrs_twotower.evaluation.per_query import PerQuery
from tfrs_twotower.evaluation.plain import as_asked
from tfrs_twotower.evaluation.ranking import Asked, Ranking, rank_each
from tfrs_twotower.evaluation.report import metric_html, metric_table
from tfrs_twotower.evaluation.scorers import Scorer
from tfrs_twotower.evaluation.slices import slice_masks

_VALUE = "value"  # of the table's column
_Name = TypeVar("_Name")


@dataclass(frozen=True)
class Evaluation:
    """The outcome of `evaluate`, which prints as a table.

    Attributes:
      metrics: {"recall@10": mean over queries, …, "mrr", "coverage@10", "novelty@10"}.
      intervals: {metric: [low, high]}: 95% percentile bootstrap over queries; none for coverage, which is
        no mean. Empty without a bootstrap.
      slices: {slice: {metric: value, "targets": count, "queries": count, "intervals": {metric: [low, high]}}}
        for recall, hit rate and NDCG. In a slice only its targets count, and only queries with such a target
        are averaged. `slices.slice_masks` defines the slices.
      top: int32 [q, largest K]: recommended candidate positions, best first; −1 pads, and fills the row of a dropped
        query.
      queries, targets, candidates: their numbers.
      dropped: the number of queries that do not count, as the user has seen all targets.
      targets_sha256: of the targets, query by query: equal for two models that had the same queries.
      per_query: {metric: float64 [q]}, the values of each mean; NaN for a dropped query.
    """

    metrics: dict
    intervals: dict
    slices: dict
    top: np.ndarray = field(repr=False)
    queries: int
    dropped: int
    targets: int
    candidates: int
    targets_sha256: str
    per_query: dict = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the recommendations and the values of single queries."""
        names = ("metrics", "intervals", "slices", "queries", "dropped", "targets", "candidates", "targets_sha256")
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        return f"{metric_table({_VALUE: self})}\n{self._asked()}"

    def _repr_html_(self) -> str:
        return f"{metric_html({_VALUE: self})}<p>{self._asked()}</p>"

    def _asked(self) -> str:
        return f"{self.queries:,} queries, {self.targets:,} targets, {self.candidates:,} candidates"


def evaluate(
    scores: Scorer | np.ndarray | pd.DataFrame, targets: Ragged | Sequence[Sequence[int]] | pd.DataFrame,
    exclude: Ragged | Sequence[Sequence[int]] | pd.DataFrame | None = None,
    train_counts: np.ndarray | Sequence[int] | None = None, ks: Iterable[int] = (10, 50, 100),
    cold_users: np.ndarray | Sequence[bool] | None = None, seed: int = 0, bootstrap: int = 1000,
) -> Evaluation:
    """Ranks the whole catalogue for every query and measures the outcome.

    Args:
      scores: a `Scorer` of q queries and n candidates; or an array [q, n]; or a frame with user_id, item_id and
        score, one row per pair: its items are the catalogue, and items without a score rank last.
      targets: `Ragged` or lists: candidate positions of each query's targets; −1 is an item outside the catalogue.
        With a frame of scores, a frame with user_id and item_id; an item without any score is a miss.
      exclude: like `targets`: items that are neither ranked nor targets (seen items); or None.
      train_counts: [n]: training events of each candidate; None leaves out novelty and the slices by item.
      ks: cut-offs, each at least 1.
      cold_users: bool [q], users without a training event, or None for no slices by user.
      seed: of the bootstrap.
      bootstrap: replicates; 0 leaves the intervals out.

    Raises:
      EvaluationError: scores are not finite, no query has a target, or shapes do not agree.
    """
    asked = {_VALUE: as_asked(scores, targets, exclude)}
    return evaluate_each(asked, train_counts, ks, cold_users, seed, bootstrap)[_VALUE]


def evaluate_each(
    asked: Mapping[_Name, Asked], train_counts: np.ndarray | Sequence[int] | None = None,
    ks: Iterable[int] = (10, 50, 100), cold_users: np.ndarray | Sequence[bool] | None = None, seed: int = 0,
    bootstrap: int = 1000, parts: Parts | None = None,
) -> dict[_Name, Evaluation]:
    """`evaluate` of each {name: (scorer, targets, exclude)}, in one pass over blocks of queries.

    A scorer that comes several times in a row, with other targets or exclusions, scores a block once. parts: keep what
    is ranked, so that a stopped evaluation continues.
    """
    for scorer, _, _ in asked.values():
        ks = _checked(scorer, train_counts, ks)
    rankings = rank_each(list(asked.values()), ks[-1], parts=parts)  # type: ignore[index]  # `_checked` made a tuple
    return {
        name: _evaluation(ranking, train_counts, ks, cold_users, seed, bootstrap)  # type: ignore[arg-type]  # as above
        for name, ranking in zip(asked, rankings)
    }


def _evaluation(
    ranking: Ranking, train_counts: np.ndarray | Sequence[int] | None, ks: Sequence[int],
    cold_users: np.ndarray | Sequence[bool] | None, seed: int, bootstrap: int,
) -> Evaluation:
    per_query = measures.per_query(ranking, ks)
    per_query["mrr"] = measures.reciprocal_rank(ranking)
    if train_counts is not None:
        per_query.update({f"novelty@{k}": measures.novelty(ranking, k, train_counts) for k in ks})
    masks = slice_masks(ranking.targets, train_counts, cold_users)
    sliced: dict[str | None, dict[str, np.ndarray]] = {
        name: measures.per_query(ranking, ks, mask) for name, mask in masks.items()
    }
    means, bounds = _summary({None: per_query, **sliced}, bootstrap, seed)
    coverage = {f"coverage@{k}": measures.coverage(ranking, k) for k in ks}
    slices = {}
    for name, mask in masks.items():
        asked = np.isfinite(sliced[name][f"recall@{ks[0]}"]).sum()
        counts = {"targets": int(mask.sum()), "queries": int(asked)}
        slices[name] = {**means[name], **counts, "intervals": bounds[name]}
    return Evaluation(
        metrics={**means[None], **coverage},
        intervals=bounds[None],
        slices=slices,
        top=ranking.top,
        queries=int(measures.asked(ranking).sum()),
        dropped=int((~measures.asked(ranking)).sum()),
        targets=len(ranking.targets.values),
        candidates=ranking.catalogue,
        targets_sha256=_fingerprint(ranking.targets),
        per_query=per_query,
    )


def compare(
    a: Evaluation | PerQuery, b: Evaluation | PerQuery, seed: int = 0, bootstrap: int = 1000
) -> dict[str, dict[str, Any]]:
    """The difference of `a` and `b`, by a paired bootstrap over the same queries.

    Returns:
      {metric: {"difference": mean of a − b, "interval": [low, high]}} for each metric that both have per
      query. `a` is better than `b` by more than the interval if `low` is above 0.

    Raises:
      EvaluationError: the two have different queries or targets.
    """
    if a.targets_sha256 != b.targets_sha256:
        raise EvaluationError(
            "`a` and `b` must be evaluations of the same queries and targets. Received: two different sets. "
            "Evaluate both with the same split and the same evaluation.test_queries."
        )
    names = [name for name in a.per_query if name in b.per_query]
    differences = np.stack([a.per_query[name] - b.per_query[name] for name in names], axis=1)
    bounds = intervals(differences, bootstrap, seed)
    means = np.nanmean(differences, axis=0)
    return {
        name: {"difference": float(means[i]), "interval": bounds[i].tolist()} for i, name in enumerate(names)
    }


def _checked(
    scorer: Scorer, train_counts: np.ndarray | Sequence[int] | None, ks: Iterable[int]
) -> tuple[int, ...]:
    """The cut-offs, ascending and distinct."""
    ks = tuple(sorted(set(ks)))
    if not ks or ks[0] < 1:
        raise EvaluationError(
            invalid("ks", "be one or more numbers of at least 1", ks, "Pass for example (10, 100).")
        )
    if train_counts is not None and np.shape(train_counts) != (scorer.catalogue,):
        raise EvaluationError(
            f"`train_counts` must have one count for each of the {scorer.catalogue:,} candidates. "
            f"Received: shape {np.shape(train_counts)}. Count the training events by candidate position."
        )
    return ks


def _summary(
    groups: Mapping[str | None, Mapping[str, np.ndarray]], bootstrap: int, seed: int
) -> tuple[dict[str | None, dict[str, float]], dict[str | None, dict[str, list[float]]]]:
    """{group: {metric: mean}} and {group: {metric: [low, high]}} of {group: {metric: [q]}}: one bootstrap."""
    keys = [(group, name) for group, columns in groups.items() for name in columns]
    values = np.stack([groups[group][name] for group, name in keys], axis=1)
    means, bounds = {group: {} for group in groups}, {group: {} for group in groups}
    for (group, name), mean in zip(keys, np.nanmean(values, axis=0)):
        means[group][name] = float(mean)
    if bootstrap:
        for (group, name), ends in zip(keys, intervals(values, bootstrap, seed)):
            bounds[group][name] = ends.tolist()
    return means, bounds


def _fingerprint(targets: Ragged) -> str:
    digest = hashlib.sha256(targets.offsets.astype("<i8").tobytes())
    digest.update(targets.values.astype("<i4").tobytes())
    return digest.hexdigest()
