"""The fields of an export's manifest about its run."""

from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.configuration import to_dict
from tfrs_twotower.data import InteractionLog
from tfrs_twotower.models import TwoTowerModel, heads_of
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.lineage import lineage
from tfrs_twotower.recipe import Recipe

_KINDS = 100  # of a log's events, beyond which none is left out


def manifest_fields(
    recipe: Recipe, served: Assembly, weights: runs.Weights, directory: Path, metrics: dict[str, float] | None
) -> dict[str, Any]:
    """The fields.

    Args:
      recipe: the `Recipe`, with the index as it was built.
      served: the `Assembly` that is exported.
      weights: its `runs.Weights`.
      directory: the run's folder.
      metrics: of the training that was evaluated; None: it was not.
    """
    a = served
    refit = runs.read_refit(directory) if weights.folder.name == runs.REFIT else None
    return {
        "model": recipe.name,
        "schema": to_dict(recipe.schema),
        "recipe": to_dict(recipe),
        "vocabulary": _vocabulary_sizes(a.model),
        "embedding_space": weights.embedding_space,
        "lineage": lineage(directory),
        "temperature": a.model.temperature,
        "popularity_weight": a.weights.popularity,
        "neighbour_weight": a.weights.neighbours,
        "repeat_weight": a.weights.repeats,
        "objectives": list(heads_of(a.model)),
        "item_start": a.new_items.start.tolist() if a.new_items else None,
        "history_events": a.past_length,
        "histories": {
            name: {"kinds": list(window.kinds or _kinds(a.log)), "events": window.length}
            for name, window in a.windows.items()
        },
        "searches": a.searches, "searches_alone": len(a.log.searched) > 0,
        "exclude_seen": recipe.evaluation.exclude_seen,
        "training_events": int(a.train_counts.sum()),
        "trained_on": {
            "events": len(a.split.known), "until": weights.trained_until, "refit": refit is not None,
            "held_out": len(a.log) - len(a.split.known) if refit is None else refit.held_out,
        },
        "metrics": metrics,
    }


def _kinds(log: InteractionLog) -> list[str]:
    """The kinds of the log's events, and "" for events that tell none: a server leaves others out of histories, as
    training did not know them. [] for all: the log tells no kinds, or too many."""
    if c.EVENT not in log.context.column_names:
        return []
    kinds = sorted({kind or "" for kind in pc.unique(log.context[c.EVENT]).to_pylist()} | {""})
    return kinds if len(kinds) <= _KINDS else []


def _vocabulary_sizes(model: TwoTowerModel) -> dict[str, dict[str, int]]:
    return {
        side: {field.name: field.size for field in tower.fields if hasattr(field, "size")}
        for side, tower in (("query", model.query_tower), ("candidate", model.candidate_tower))
    }
