"""The figures of an evaluation of a trained model, beside its baselines."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.configuration import to_dict
from tfrs_twotower.data import Queries
from tfrs_twotower.data.ragged import ranges
from tfrs_twotower.errors import ConfigError, EvaluationError, invalid, nearest
from tfrs_twotower.evaluation import (
    SCORE,
    VIEWS,
    Evaluation,
    PairScorer,
    Parts,
    SampledAnswers,
    Scorer,
    collapse,
    compare,
    field_weights,
    interests,
    repeat_share,
    viewed,
)
from tfrs_twotower.pipeline.assembly import SAMPLE_SEED, Assembly
from tfrs_twotower.pipeline.requests import as_ids, user_rows
from tfrs_twotower.recipe import Recipe


def evaluated(
    assembly: Assembly, on: str, scores: pd.DataFrame | None = None, all_queries: bool = False,
    parts: Parts | None = None,
) -> tuple[dict[str, Evaluation], dict[str, Any]]:
    """Ranks the whole catalogue for the queries of `on` ("test" or "validation") by the model and by each baseline.

    All of them have the same queries, `Assembly.asked`, and are ranked in one pass.

    Args:
      scores: a frame with user_id, item_id and score of another model, evaluated too under the name "scores"; or None.
      all_queries: whether to ask more than the recipe's `evaluation.test_queries`.
      parts: the `Parts` that keep what is ranked; None: nothing is kept.

    Returns:
      ({"model" or a baseline's name: Evaluation}, the figures of `metrics.json`).

    Raises:
      ConfigError: `on` is neither.
      EvaluationError: `scores` lacks a column, has none of the queries' users, or scores a pair twice.
    """
    a = assembly
    known = ("test", "validation")
    if on not in known:
        raise ConfigError(f"`on` must be test or validation. Received: on={on!r}." + nearest(on, known))
    queries = a.asked(on, all_queries)
    scorer = a.model_scorer(queries)
    first = scorer if a.second_stage is None else scorer.retrieval
    others = a.baselines(queries)
    if scores is not None:
        others = {"scores": _frame_scorer(a, queries, scores), **others}
    if a.second_stage is not None:
        others = {"retrieval": first, **others}
    found = _in_views(a, queries, {"model": scorer, **others}, parts)
    evaluations = found[a.view]
    model, baselines = evaluations["model"], {name: evaluations[name] for name in others}
    return evaluations, {
        "protocol": {**_protocol(a.recipe, model, on), "sample": _sample(a, queries, on),
                     "repeats": repeat_share(queries), "asked_sha256": _asked_sha256(a, queries)},
        on: model.metrics,
        "intervals": model.intervals,
        "slices": model.slices,
        "views": {view: _view_figures(found[view]) for view in VIEWS if len(found) > 1},
        "baselines": {name: e.metrics for name, e in baselines.items()},
        "baseline_intervals": {name: e.intervals for name, e in baselines.items()},
        "baseline_slices": {name: e.slices for name, e in baselines.items()},
        "baseline_settings": a.fitted_baselines.settings,
        "baselines_skipped": a.fitted_baselines.skipped,
        "beats": {name: compare(model, e) for name, e in baselines.items()},
        "reranker_weights": (
            a.second_stage.field_weights(queries.row, model.top) if a.second_stage is not None else None
        ),
        "collapse": dataclasses.asdict(collapse(first.queries, first.latest, model.top)),
        "interests": (
            dataclasses.asdict(interests(first.queries, first.latest))
            if first.queries.ndim == 3 and first.queries.shape[1] > 1 else None
        ),
        "field_weights": {
            "query": field_weights(a.model.query_tower, a.examples.queries, queries.row),
            "candidate": field_weights(a.model.candidate_tower, a.examples.candidates, a.catalogue),
        },
    }


def sampled_answers(
    assembly: Assembly, on: str, evaluations: Mapping[str, Evaluation], all_queries: bool = False
) -> SampledAnswers:
    """The `SampledAnswers` of `evaluated` with the same arguments."""
    queries = assembly.asked(on, all_queries)
    return SampledAnswers.of(queries, viewed(queries, assembly.view)[0], evaluations, assembly.catalogue)


def _in_views(
    a: Assembly, queries: Queries, scorers: Mapping[str, Scorer], parts: Parts | None
) -> dict[str, dict[str, Evaluation]]:
    """{view: {name: Evaluation}}: of the recipe's own view, and of repeats and discoveries if there are both."""
    views = list(dict.fromkeys((a.view, *VIEWS))) if 0 < repeat_share(queries) < 1 else [a.view]
    asked: dict[tuple[str, str], tuple[Scorer, str | None]] = {}
    for name, scorer in scorers.items():
        for view in views:
            if name == "model" and a.second_stage is not None and view != a.view:
                scorer = a.model_scorer(queries, view)  # items that are not retrieved are not among the rescored ones
            asked[view, name] = scorer, view
    found = a.evaluate_each(queries, asked, parts=parts)
    return {view: {name: found[view, name] for name in scorers} for view in views}


def _view_figures(evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    return {
        "queries": evaluations["model"].queries,
        "targets": evaluations["model"].targets,
        "metrics": {name: e.metrics for name, e in evaluations.items()},
        "intervals": {name: e.intervals for name, e in evaluations.items()},
    }


def _sample(a: Assembly, queries: Queries, on: str) -> dict[str, int] | None:
    """{"queries", "of", "seed"}: how many were drawn, of how many, by which seed; None if all are asked."""
    whole = len(a.split.test if on == "test" else a.split.validation)
    return None if len(queries) == whole else {"queries": len(queries), "of": whole, "seed": SAMPLE_SEED}


def _protocol(recipe: Recipe, evaluation: Evaluation, on: str) -> dict[str, Any]:
    return {
        "split": to_dict(recipe.split),
        "on": on,
        "queries": evaluation.queries,
        "dropped": evaluation.dropped,
        "targets": evaluation.targets,
        "catalogue": evaluation.candidates,
        "exclude_seen": recipe.evaluation.exclude_seen,
        "targets_sha256": evaluation.targets_sha256,
        "ranking": "the whole catalogue, ties in random order",
        "seed": recipe.training.seed,
    }


def _frame_scorer(a: Assembly, queries: Queries, frame: pd.DataFrame) -> PairScorer:
    """The `PairScorer` of a frame with user_id, item_id and score; other users and items are left out."""
    wanted = (c.USER_ID, c.ITEM_ID, SCORE)
    if not set(wanted) <= set(frame.columns):
        rule = f"have the columns {', '.join(wanted)}"
        raise EvaluationError(invalid("scores", rule, list(frame.columns), "Rename them."))
    users = user_rows(a.log, frame[c.USER_ID])
    items = pc.index_in(as_ids(frame[c.ITEM_ID], a.log.items, c.ITEM_ID), a.log.items[c.ITEM_ID].combine_chunks())
    items = pc.fill_null(items, -1).to_numpy()
    positions = np.where(items >= 0, a.positions(items), -1)
    kept = np.flatnonzero((positions >= 0) & np.isin(users, queries.user))
    if not len(kept):
        rule = "name users and items of the log"
        raise EvaluationError(invalid("scores", rule, frame.head(3).to_dict("records"), "Use the log's own ids."))
    # A user may have several queries: each query has all of the user's scores.
    kept = kept[np.argsort(users[kept], kind="stable")]
    first, end = (np.searchsorted(users[kept], queries.user, side=side) for side in ("left", "right"))
    taken = kept[ranges(first, end)]
    rows = np.repeat(np.arange(len(queries)), end - first)
    scores = frame[SCORE].to_numpy()[taken]
    return PairScorer(rows, positions[taken], scores, len(queries), len(a.catalogue))


def _asked_sha256(a: Assembly, queries: Queries) -> str:
    """SHA-256 of the queries: users, times and targets by their ids; equal for runs with the same queries."""
    targets, seen = viewed(queries, a.view)
    digest = hashlib.sha256(targets.offsets.astype("<i8").tobytes() + queries.timestamp.astype("<i8").tobytes())
    digest.update(b"all" if seen is None else b"unseen")
    for table, rows in ((a.log.users[c.USER_ID], queries.user), (a.log.items[c.ITEM_ID], targets.values)):
        for text in pc.cast(table.take(pa.array(rows)), pa.string()).to_pylist():
            digest.update(text.encode() + b"\0")
    return digest.hexdigest()
