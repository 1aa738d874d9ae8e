"""The race: candidates are trained briefly, and validation chooses one."""

import dataclasses
import gc
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.configuration import from_dict, to_dict
from tfrs_twotower.data import InteractionLog, Split
from tfrs_twotower.errors import ConfigError, TrainingError
from tfrs_twotower.features import Feature, History, Id, Schema, Sequence
from tfrs_twotower.features.past import PastFeature
from tfrs_twotower.losses import FullSoftmax, SampledSoftmax
from tfrs_twotower.models import FixedTemperature
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembling import assemble, completed
from tfrs_twotower.pipeline.searching import Validation
from tfrs_twotower.pipeline.without_times import without_times
from tfrs_twotower.recipe import BESIDE, ModelConfig, Recipe
from tfrs_twotower.sampling import NoLogQ, StaticLogQ, Uniform
from tfrs_twotower.towers import HSTU, MLP
from tfrs_twotower.training import CoVisits, LazyAdamConfig, epoch_lines, fit, neighbours

FOLDER, RESULT = runs.RACE, runs.RACE_RESULT

_DIM, _WIDE = 64, 128  # dimensions: of a sequence tower, and of pooled vectors, where more of them tell items apart
_WHOLE_CATALOGUE = 5_000  # items up to which the softmax is over all of them
_NEGATIVES = 1024  # per step, in a larger catalogue
_SEQUENCE = (10, 100)  # events that a sequence tower reads, at least and at most
_AVERAGED = 10_000_000  # numbers of the tables up to which an average passes over them in every step
_PAST = 100  # events that are pooled, at most
_NEIGHBOURS = 50_000  # items up to which the score has neighbours: they triple the length of the vectors
_SCORES = 60_000_000  # scores of an epoch's validation for one choice of weights; there are about twenty choices
_LEAST_QUERIES = 500
_RACE, _TRAINING = 0.3, 0.12  # shares of the time, for all candidates and for the winner; a refit takes as long again
_TERMS, _BASELINES = 0.2, 0.2  # shares of the time, at most, for the choice of the score's terms and for baselines


def seconds_for(events: int) -> float:
    """The default time of the whole command: 4 minutes for 100,000 events, 30 for a million, on two cores."""
    return 240.0 * max(events / 100_000, 0.25) ** 0.875


def candidates(recipe: Recipe, log: InteractionLog, split: Split) -> dict[str, Recipe]:
    """{name: recipe} of the candidates, which depend on the log.

    "sequence" reads the events in order; a log without times has no such candidate. "pooled" has a vector for each user
    and the mean of the events' vectors. If the log has times, newer events weigh more in the mean. Its towers have no
    hidden layer. Both start from the pairs of items in the training events (`CoVisits`).
    """
    recipe = completed(dataclasses.replace(recipe, race=None), log)
    derived = recipe.schema
    profile = tuple(f for f in derived.query if not isinstance(f, PastFeature) and f.columns != (c.USER_ID,))
    content = tuple(f for f in derived.candidate if f.columns != (c.ITEM_ID,))
    schemas = {}

    def candidate(dim: int) -> tuple[Feature, ...]:
        return Id(c.ITEM_ID, dim=dim, dropout=0.05 if content else 0.0), *content

    counts = np.bincount(log.user[split.train])
    typical = int(np.percentile(counts[counts > 0], 95))
    if log.timed:
        length = int(np.clip(typical, *_SEQUENCE))
        schemas["sequence"] = Schema(query=(Sequence(length=length), *profile), candidate=candidate(_DIM))
    past = History(length=int(np.clip(typical, 10, _PAST)), pooling="decay" if log.timed else "mean", dropout=0.1,
                   learned=log.timed)
    user = Id(c.USER_ID, dim=_WIDE, dropout=0.2)
    schemas["pooled"] = Schema(query=(past, user, *profile), candidate=candidate(_WIDE))
    return {name: _candidate(recipe, log, schema) for name, schema in schemas.items()}


def _candidate(recipe: Recipe, log: InteractionLog, schema: Schema) -> Recipe:
    """The recipe with a schema and the settings for it."""
    past, timed = schema.query[0], log.timed
    sequence = isinstance(past, Sequence)
    catalogue, dim = log.items.num_rows, _DIM if sequence else _WIDE
    rows = catalogue + (0 if sequence else log.users.num_rows)
    sampled: dict[str, Any] = {"loss": SampledSoftmax(), "negatives": (Uniform(_NEGATIVES),), "logq": NoLogQ()}
    whole: dict[str, Any] = {"loss": FullSoftmax(), "logq": StaticLogQ()}
    model = dataclasses.replace(
        recipe.model,
        dim=dim,
        query_encoder=(
            HSTU(width=_DIM, dropout=0.3, length=past.length)  # type: ignore[attr-defined]  # a Sequence has it
            if sequence else MLP(widths=())
        ),
        candidate_encoder=MLP(widths=()),
        temperature=FixedTemperature(0.05 if sequence else 0.1),
        item_start=CoVisits() if timed else CoVisits(window=50, decay=1.0),
        neighbours=recipe.model.neighbours if catalogue <= _NEIGHBOURS else None,
        **(whole if catalogue <= _WHOLE_CATALOGUE else sampled),
    )
    training = dataclasses.replace(
        recipe.training,
        batch_size=2400 if sequence else 1024,
        optimizer=LazyAdamConfig(learning_rate=0.002),
        average=0.99 if rows * dim <= _AVERAGED else 0.0,
        known_positives=0 if sequence else 100,
    )
    most = recipe.evaluation.most_validation_queries(catalogue) or _SCORES
    queries = min(most, max(_SCORES // catalogue, _LEAST_QUERIES))
    evaluation = dataclasses.replace(recipe.evaluation, validation_queries=queries)
    return dataclasses.replace(recipe, schema=schema, model=model, training=training, evaluation=evaluation)


def race(recipe: Recipe, log: InteractionLog, directory: str | Path, verbose: int = 1) -> Recipe:
    """The winner's recipe; its training so far is in the run's checkpoint folder.

    Every candidate trains for its share of the time, or until validation stops it. The winner ranks validation best,
    with its best weights in the score: by the mean of the monitored metric and of the recall at the largest cut-off,
    each relative to the best candidate's. It then trains for as many more epochs as fit into its time. A stopped race
    resumes with the candidate that it was training.

    Args:
      recipe: a `Recipe` with `race`.
      log: an `InteractionLog`.
      directory: the run's folder.
      verbose: 0 prints nothing.
    """
    directory = Path(directory)
    folder, file = directory / FOLDER, directory / RESULT
    result = _read(file) if file.exists() else {"candidates": {}}
    recipe = recipe if log.timed else without_times(recipe)
    whole = recipe.race.minutes * 60.0 if recipe.race.minutes else seconds_for(len(log))
    recipe = _with_baselines_in(whole * _BASELINES, recipe, len(log))
    entrants = candidates(recipe, log, recipe.split.split(log, seed=recipe.training.seed))
    if verbose and not result["candidates"]:
        minutes = max(round(whole / 60), 1)
        what = f"Race of {' and '.join(entrants)}" if len(entrants) > 1 else f"One candidate, {next(iter(entrants))}"
        print(f"{what}: about {minutes} minute{'s' * (minutes > 1)} in all (--minutes).", flush=True)
    for name in entrants:
        if "recall" not in result["candidates"].get(name, {}):  # not tried, or by an earlier version
            entrant = _beside(entrants[name], result)
            found, model = _tried(name, entrant, log, folder / name, whole, _RACE / len(entrants), verbose)
            gc.collect()  # a model has reference cycles; this frees its tables before the next one is made
            result["candidates"][name] = found
            settings = to_dict(model)
            result["beside"] = {part: settings[part] for part in BESIDE}
            runs.write_json(file, result)
    winner = _winner(result["candidates"])
    found = result["candidates"][winner]
    more = int(whole * _TRAINING / max(found["seconds_an_epoch"], 0.01))
    epochs = min(recipe.training.epochs, found["epochs"] + max(more, 1))
    runs.write_json(file, {**result, "winner": winner, "epochs": epochs})
    if verbose:
        shown = ", ".join(f"{name} {found['best']:.4f} (recall {found['recall']:.4f})"
                          for name, found in result["candidates"].items())
        left = (epochs - found["epochs"]) * found["seconds_an_epoch"] / 60.0
        print(f"{recipe.training.monitor} on validation: {shown}. {winner} goes on, up to epoch {epochs}: at most "
              f"{left:.1f} minutes.", flush=True)
    if (folder / winner).exists():
        shutil.move(folder / winner, directory / runs.CHECKPOINT)
    for file in folder.glob(neighbours.FILE):  # of the log and the settings alone, so the training has the same
        os.replace(file, directory / runs.CHECKPOINT / neighbours.FILE)
    shutil.rmtree(folder, ignore_errors=True)
    chosen = _beside(entrants[winner], result)
    return dataclasses.replace(chosen, training=dataclasses.replace(chosen.training, epochs=epochs))


def _beside(recipe: Recipe, result: Mapping[str, Any]) -> Recipe:
    """The recipe with the terms of the score that the first candidate's assembly chose."""
    if "beside" not in result:
        return recipe
    settings = from_dict({"type": ModelConfig.__name__, **result["beside"]})
    terms = {name: getattr(settings, name) for name in BESIDE}
    return dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, **terms))


def _with_baselines_in(seconds: float, recipe: Recipe, events: int) -> Recipe:
    """The recipe, whose default time for baselines is at most so many seconds."""
    evaluation = recipe.evaluation
    if evaluation.baseline_seconds is not None or evaluation.seconds(events) <= seconds:
        return recipe
    return dataclasses.replace(recipe, evaluation=dataclasses.replace(evaluation, baseline_seconds=int(seconds)))


def _tried(
    name: str, recipe: Recipe, log: InteractionLog, folder: Path, whole: float, share: float, verbose: int
) -> tuple[dict[str, float], ModelConfig]:
    """Trains one candidate for about a share of the `whole` seconds.

    Returns: its entry of `race.json`, and its model's settings.
    """
    if verbose:
        print(f"Candidate {name}:", flush=True)
    a = assemble(recipe, log, seconds=whole * _TERMS)
    if verbose and a.untried:
        print(f"The {whole * _TERMS:.0f} s for choosing the terms of the score were too short for "
              f"{', '.join(a.untried)}. A larger --minutes tries them.", flush=True)
    a.terms.share_neighbours(folder.parent)
    clock = _Stop(whole * share)
    report = fit(a.model, a.batches, recipe.training, Validation(a), folder, verbose, [clock], start=a.start)
    path = folder / epoch_lines.FILE
    metrics = next((figures for figures in epoch_lines.read(path) if figures["epoch"] == report.best_epoch), None)
    if metrics is None:
        raise TrainingError(f"{path} lacks epoch {report.best_epoch}. Remove {folder}, and race again.")
    found = {"best": report.best, "recall": metrics[f"recall@{max(recipe.evaluation.ks)}"], "epochs": report.epochs,
             "seconds_an_epoch": report.seconds_an_epoch}
    return found, a.recipe.model


def _read(file: Path) -> dict[str, Any]:
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        result["candidates"].items()
        return result
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{file} cannot be read ({error!r}). Remove it: the candidates race again.") from error


def _winner(candidates: Mapping[str, Mapping[str, float]]) -> str:
    """The name of the best of {name: entry of `race.json`}."""
    most = {metric: max(found[metric] for found in candidates.values()) for metric in ("best", "recall")}
    return max(candidates, key=lambda name: sum(candidates[name][m] / max(most[m], 1e-9) for m in most))


class _Stop(tf.keras.callbacks.Callback):
    """Stops when another epoch would not fit into the seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds, self._begun, self._epochs = seconds, time.perf_counter(), 0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._epochs += 1
        spent = time.perf_counter() - self._begun
        if spent + spent / self._epochs > self._seconds:
            self.model.stop_training = True
