"""The trainings in a run's folder: one is evaluated on held-out events; the refit on all events is served."""

import contextlib
import dataclasses
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_twotower.data import InteractionLog
from tfrs_twotower.features import Field, weights_loaded_next
from tfrs_twotower.models import ScoreWeights
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.dealing import deal, dealt
from tfrs_twotower.pipeline.few_shot import learn_few_shot, restore_few_shot
from tfrs_twotower.pipeline.learned_fields import has_fields, read_fields, write_fields
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.training import fit, is_chief, of_chief, restore_best
from tfrs_twotower.training.kept_checkpoints import UNREADABLE, kept_checkpoints


def begun(
    recipe: Recipe, log: InteractionLog, folder: Path, new: bool, parent: Path | None = None, held_out: bool = True
) -> Assembly:
    """The `Assembly` of a training that begins in a folder, or continues there.

    Args:
      recipe, log, held_out: as in `assemble`; of a training that is dealt out, those of the chief count.
      folder: of its checkpoints and its fields' state.
      new: whether it begins. Its fields then learn from the log, or grow from the fields of `parent`.
      parent: the run whose served weights it starts from, or None. Its `ScoreWeights` are kept.
    """
    if parent is None and dealt(recipe):
        return deal(recipe, log, folder, new, held_out)
    recipe = recipe if parent is None else _weighing_as(recipe, runs.score_weights(parent))
    source = folder if not new else runs.weights(parent).folder if parent else None
    states = read_fields(source) if source else None
    a = assemble(recipe, log, states, grow=_every if new and states else None, held_out=held_out)
    if new and is_chief():
        write_fields(folder, (a.model.query_tower, a.model.candidate_tower))
    return a


def restored(
    recipe: Recipe, log: InteractionLog, folder: Path, held_out: bool = True, parent: Path | None = None
) -> Assembly:
    """The `Assembly` of a training of the run `folder.parent`, with its final weights; `parent` as in `begun`."""
    if parent is None and dealt(recipe):
        a = deal(recipe, log, folder, False, held_out)
    else:
        a = assemble(recipe, log, read_fields(folder), held_out=held_out)
    with weights_loaded_next():
        a.model(next(iter(a.batches.dataset(0, 1))))  # makes them
    restore_best(a.model, folder)
    a.weigh(runs.score_weights(folder.parent), folder)
    restore_few_shot(a, folder)
    return a


def chosen_epochs(directory: Path) -> int | None:
    """The number of epochs that validation chose in a run's first training; None if that did not finish."""
    if not runs.is_trained(directory):
        return None
    for last in reversed(kept_checkpoints(directory / runs.CHECKPOINT / "last")):
        with contextlib.suppress(*UNREADABLE):
            return int(tf.train.load_variable(last, "progress/best_epoch/.ATTRIBUTES/VARIABLE_VALUE")) + 1
    return None


def refit(
    evaluated: Assembly, directory: Path, parent: Path | None, epochs: int, verbose: int = 1,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
) -> Assembly:
    """Trains once more, from the same start and with the same settings, on the held-out events too.

    Nothing is validated. It runs the number of epochs that validation chose; each has more steps, as there are more
    events. The learning rate's schedule still spans `training.epochs`, so it ends at the same fraction of it.

    Args:
      evaluated: the `Assembly` of the training that was evaluated on held-out events.
      directory: its run's folder. A stopped refit there continues, a finished one is restored.
      parent: the run that both start from, or None.
      epochs: the number that validation chose.
      verbose: 0 prints nothing.
      callbacks: as in Keras.

    Returns:
      The `Assembly` of the refit, with its weights.
    """
    folder, log = directory / runs.REFIT, evaluated.log
    done = runs.read_refit(directory)
    if of_chief(float(done is not None and done.epochs == epochs)):
        return restored(evaluated.recipe, log, folder, held_out=False, parent=parent)
    new = not of_chief(float(has_fields(folder)))
    a = begun(evaluated.recipe, log, folder, new, parent, held_out=False)
    held_out = len(a.split.train) - len(evaluated.split.train)
    if verbose and not a.partial:
        print(f"Training on all {len(a.split.train):,} events, {held_out:,} of which were held out: {epochs} "
              f"epoch{'s' * (epochs > 1)}, as validation chose.", flush=True)
    fit(
        a.model, a.batches, a.recipe.training, None, folder, verbose, callbacks,
        start_from=runs.weights(parent).folder if parent else None, start=None if parent else a.start,
        epochs=epochs,
    )
    a.weights = evaluated.weights
    learn_few_shot(a, folder)
    if is_chief():
        if a.weights.neighbours:
            a.terms.keep_neighbours(folder)
        last = int(log.timestamp[a.split.train[-1]])
        runs.write_refit(directory, runs.Refit(uuid.uuid4().hex, last, epochs, held_out))
    return a


def _weighing_as(recipe: Recipe, weights: ScoreWeights) -> Recipe:
    """The recipe with these `ScoreWeights` as the only choice; a term without weight is removed."""
    model = recipe.model
    terms: dict[str, Any] = {"popularity_weights": (weights.popularity,)}
    for name in ("neighbours", "repeats"):
        settings, weight = getattr(model, name), getattr(weights, name)
        terms[name] = dataclasses.replace(settings, weights=(weight,)) if settings and weight else None
    return dataclasses.replace(recipe, model=dataclasses.replace(model, **terms))


def _every(field: Field) -> bool:
    return True
