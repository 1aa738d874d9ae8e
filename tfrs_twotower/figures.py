"""What an evaluation says of a trained model, beside its baselines."""

import dataclasses

from tfrs_twotower.config import to_dict
from tfrs_twotower.errors import ConfigError, nearest
from tfrs_twotower.evaluation import collapse, compare, field_weights, interests


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
    baselines = {name: a.judge(queries, baseline) for name, baseline in a.baselines(queries).items()}
    if a.second_stage is not None:
        baselines = {"retrieval": a.judge(queries, scorer.retrieval), **baselines}
    return {"model": model, **baselines}, {
        "protocol": _protocol(a.recipe, model, on),
        on: model.metrics,
        "intervals": model.intervals,
        "slices": model.slices,
        "baselines": {name: e.metrics for name, e in baselines.items()},
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


def _protocol(recipe, evaluation, on):
    return {
        "split": to_dict(recipe.split),
        "on": on,
        "queries": evaluation.queries,
        "targets": evaluation.targets,
        "catalogue": evaluation.candidates,
        "exclude_seen": recipe.evaluation.exclude_seen,
        "targets_sha256": evaluation.targets_sha256,
        "ranking": "the whole catalogue, ties against the model",
        "seed": recipe.training.seed,
    }
