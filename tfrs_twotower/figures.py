"""What an evaluation says of a trained model, beside its baselines."""

import dataclasses

from tfrs_twotower.config import to_dict
from tfrs_twotower.errors import ConfigError, nearest
from tfrs_twotower.evaluation import VIEWS, collapse, compare, field_weights, interests, repeat_share


def evaluated(assembly, on):
    """Ranks the whole catalogue for every query of `on`, "test" or "validation": by the model and by each baseline.

    Returns:
      ({"model" or a baseline's name: Evaluation}, the figures of `metrics.json`).

    Raises:
      ConfigError: `on` is another word.
    """
    a = assembly
    queries = {"test": a.split.test, "validation": a.split.validation}.get(on)
    if queries is None:
        known = ("test", "validation")
        raise ConfigError(f"`on` must be test or validation. Received: on={on!r}." + nearest(on, known))
    scorer = a.model_scorer(queries)
    model = a.judge(queries, scorer)
    others = a.baselines(queries)
    if a.second_stage is not None:
        others = {"retrieval": scorer.retrieval, **others}
    baselines = {name: a.judge(queries, other) for name, other in others.items()}
    return {"model": model, **baselines}, {
        "protocol": _protocol(a.recipe, model, on, repeat_share(queries)),
        on: model.metrics,
        "intervals": model.intervals,
        "slices": model.slices,
        "views": _views(a, queries, {"model": scorer, **others}, {"model": model, **baselines}),
        "baselines": {name: e.metrics for name, e in baselines.items()},
        "baseline_settings": a.fitted_baselines.settings,
        "baselines_skipped": a.fitted_baselines.skipped,
        "beats": {name: compare(model, e) for name, e in baselines.items()},
        "reranker_weights": (
            a.second_stage.field_weights(queries.row, model.top) if a.second_stage is not None else None
        ),
        "collapse": dataclasses.asdict(collapse(scorer.queries, scorer.candidates, model.top)),
        "interests": (
            dataclasses.asdict(interests(scorer.queries, scorer.candidates))
            if scorer.queries.ndim == 3 and scorer.queries.shape[1] > 1 else None
        ),
        "field_weights": {
            "query": field_weights(a.model.query_tower, a.examples.queries, queries.row),
            "candidate": field_weights(a.model.candidate_tower, a.examples.candidates, a.catalogue),
        },
    }


def _views(a, queries, scorers, judged):
    """{view: {"queries", "targets", "metrics" and "intervals" by name}} of repeats and of discovery; {} without both.

    `judged` are the evaluations by the protocol, which may be one of the views.
    """
    if not 0 < repeat_share(queries) < 1:
        return {}
    found = {a.view: judged}
    for view in set(VIEWS) - {a.view}:
        if a.second_stage is not None:  # what is not retrieved takes no place among what is rescored
            scorers = {**scorers, "model": a.model_scorer(queries, view)}
        found[view] = {name: a.judge(queries, scorer, view=view) for name, scorer in scorers.items()}
    return {view: {
        "queries": found[view]["model"].queries,
        "targets": found[view]["model"].targets,
        "metrics": {name: e.metrics for name, e in found[view].items()},
        "intervals": {name: e.intervals for name, e in found[view].items()},
    } for view in VIEWS}


def _protocol(recipe, evaluation, on, repeats):
    return {
        "split": to_dict(recipe.split),
        "on": on,
        "queries": evaluation.queries,
        "dropped": evaluation.dropped,
        "targets": evaluation.targets,
        "repeats": repeats,
        "catalogue": evaluation.candidates,
        "exclude_seen": recipe.evaluation.exclude_seen,
        "targets_sha256": evaluation.targets_sha256,
        "ranking": "the whole catalogue, ties against the model",
        "seed": recipe.training.seed,
    }
