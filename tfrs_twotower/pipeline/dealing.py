"""The log of a training with several workers, dealt out: each worker has the events of its users.

The chief holds the whole log, since it splits, adapts and evaluates. It writes a log for each other worker into the
folder of the training, `parts/<workers>/<worker>`, with what a worker has to know of the rest (`learned.npz`). A worker
reads these and nothing else. A batch stays that of one process: of its rows, each worker takes those of its users.
"""

import dataclasses
import functools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from tfrs_twotower.configuration import from_dict, to_dict
from tfrs_twotower.data import IngestReport, InteractionLog, Queries, Shown, Split, keep_log, read_log
from tfrs_twotower.durable import written_aside
from tfrs_twotower.errors import TrainingError, invalid
from tfrs_twotower.features import ItemStatistic, Preprocessed
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembling import Learned, assembled, learned, visible_events
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.building import adapted_towers
from tfrs_twotower.pipeline.learned_fields import read_fields, write_fields
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.sampling import Explicit
from tfrs_twotower.towers import MLP, SequenceEncoder, makes
from tfrs_twotower.training import WorkerShare, computing_in, is_chief, of_chief, shown_before, without_strategy, worker

_PARTS, _LEARNED, _ROWS, _RECIPE = "parts", "learned.npz", "rows.npz", "recipe.json"
_Result = TypeVar("_Result")


def dealt(recipe: Recipe) -> bool:
    """Whether this is one of several workers in a training that is dealt out: each reads its users' events."""
    return worker()[1] > 1 and can_be_dealt(recipe)


def can_be_dealt(recipe: Recipe) -> bool:
    """Whether a worker can train the recipe on the events of its users.

    Not if the order of the batches is drawn from all events (windows of histories, `resampling`), or statistics of
    items or the starts of newcomers are of all users. Not if a worker may have to evaluate together with the others, as
    batch normalisation does, and what is not of this package might.
    """
    if recipe.training.resampling is not None or recipe.model.few_shot is not None:
        return False
    if any(makes(member.model.query_encoder, SequenceEncoder) for member in recipe.members()):
        return False
    own = f"{__package__.split('.')[0]}."
    return not any(
        isinstance(part, (ItemStatistic, Preprocessed)) or isinstance(part, MLP) and part.normalisation == "batch"
        or not type(part).__module__.startswith(own)
        for setting in (recipe.schema, recipe.derived, recipe.model, recipe.ensemble) for part in _parts_of(setting)
    )


def _parts_of(value: Any) -> Iterator[Any]:
    """The configuration objects within a setting."""
    if dataclasses.is_dataclass(value):
        yield value
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    for part in value if isinstance(value, (list, tuple)) else ():
        yield from _parts_of(part)


def by_chief(function: Callable[[], _Result], shared: bool = True) -> _Result:
    """The result of a function that the chief alone calls; None in the other workers, which wait for it.

    shared: False if this training is not dealt out: every process then calls the function.

    Raises:
      TrainingError: in the others, if it failed.
    """
    if not shared:
        return function()
    found, done = None, 0.0
    try:
        if is_chief():
            found, done = function(), 1.0
    finally:
        done = of_chief(done)
    if not done:
        raise TrainingError("The chief of the workers stopped before the training; its own message says why. Start all "
                            "workers again when that is mended.")
    return found  # type: ignore[return-value]  # None only where nothing is asked of it


def deal(recipe: Recipe, log: InteractionLog, folder: Path, new: bool, held_out: bool = True) -> Assembly:
    """The `Assembly` of one of the workers; all call it in the strategy's scope.

    Args:
      recipe, held_out: as in `assemble`; those of the chief count.
      log: the chief's `InteractionLog`; others give None.
      folder: of the training.
      new: whether it begins; else its fields' state is there.
    """
    number, workers = worker()
    at = folder / _PARTS / str(workers)
    found = by_chief(lambda: without_strategy(functools.partial(_deal, recipe, log, folder, at, new, held_out)))
    found = found or _part(at / str(number), at, folder.parent)
    recipe = found.recipe
    tf.keras.utils.set_random_seed(recipe.training.seed)
    with computing_in(recipe.training.precision):
        towers, _ = adapted_towers(recipe, found.log, found.split.train, read_fields(folder), None)
        return assembled(dataclasses.replace(found, towers=towers))


def forget(training: Path) -> None:
    """Removes the parts of a training that is over, once all workers have come here."""
    of_chief(0.0)
    if is_chief():
        shutil.rmtree(training / _PARTS, ignore_errors=True)


def _deal(recipe: Recipe, log: InteractionLog, folder: Path, at: Path, new: bool, held_out: bool) -> Learned:
    """Writes the parts of the other workers, unless they are there; returns the chief's `Learned`, with its share."""
    with computing_in(recipe.training.precision):
        found = learned(recipe, log, None if new else read_fields(folder), held_out=held_out)
    if new:
        write_fields(folder, found.towers[0])
    users, workers = log.users.num_rows, int(at.name)
    owner = log.user[found.positives] % workers
    if few := np.flatnonzero(np.bincount(owner, minlength=workers) == 0).tolist():
        rule, way_out = "leave each of them users to train on", "Start fewer workers, or train on one machine."
        raise TrainingError(invalid("workers", rule, f"{workers}, and none for number {few[0]}", way_out))
    if new or not (at / _LEARNED).is_file():
        shutil.rmtree(folder / _PARTS, ignore_errors=True)
        place = np.full(len(log), -1, np.int64)
        place[found.positives] = np.arange(len(found.positives))
        trains = np.zeros(len(log), bool)
        trains[found.split.train] = True
        usable = dataclasses.replace(log, weight=found.weight, shown=_usable(found))
        for number in range(1, workers):
            part, rows = usable.of_users(np.arange(number, users, workers))
            keep_log(part, IngestReport(len(part), len(part), {}, None, part.users.num_rows, part.items.num_rows),
                     at / str(number))
            np.savez(at / str(number) / _ROWS, place=place[rows], trains=trains[rows])
        runs.write_json(at / _RECIPE, to_dict(found.recipe))
        with written_aside(at / _LEARNED) as file:
            np.savez(file, counts=found.counts, catalogue=found.catalogue, shown=found.shown,
                     positives=len(found.positives), events=len(log))
    share = WorkerShare(workers, len(found.positives), np.flatnonzero(owner == 0))
    return dataclasses.replace(found, share=share)


def _usable(found: Learned) -> Shown:
    """The items shown that may be negatives."""
    shown = found.log.shown
    if not any(isinstance(source, Explicit) for member in found.recipe.members() for source in member.model.negatives):
        return Shown.none()
    kept = shown_before(found.log, found.split)
    return shown.take(kept)


def _part(folder: Path, at: Path, run: Path) -> Learned:
    """What a worker knows: its part of the log, and the chief's counts."""
    try:
        log, _ = read_log(folder)
        with np.load(folder / _ROWS) as rows, np.load(at / _LEARNED) as known:
            place, trains, known = rows["place"], rows["trains"], dict(known)
        recipe = runs.with_layers(from_dict(json.loads((at / _RECIPE).read_text(encoding="utf-8"))), run)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"The part of the log in {folder} cannot be read ({error}). All workers must see the run's "
                            "folder. Remove that folder and start all workers again.") from error
    workers, number = int(at.name), int(folder.name)
    print(f"Worker {number + 1} of {workers}: {len(log):,} of {int(known['events']):,} events, those of its users.",
          flush=True)
    positives = np.flatnonzero(place >= 0)
    split = Split(np.flatnonzero(trains), Queries.none(), Queries.none())
    share = WorkerShare(workers, int(known["positives"]), place[positives])
    return Learned(recipe, log, split, [], None, known["counts"], known["catalogue"], log.weight, positives,
                   known["shown"], visible_events(recipe, log, split), share, partial=True)
