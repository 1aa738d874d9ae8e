"""The update of user rows: new events train only the table rows of their users."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog, Queries, Source, Split
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.exporting import Key, Seal, manifest, next_version, user_deltas
from tfrs_twotower.features import Id, IdField, is_user_table, weights_loaded_next
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.learned_fields import States, of_ids_in, read_fields
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.sampling import StaticLogQ, Uniform
from tfrs_twotower.towers import SequenceEncoder, makes
from tfrs_twotower.training import TrainingBatches, warm_start
from tfrs_twotower.training.optimizers import build
from tfrs_twotower.updates.user_events import moment, new_events

_log = logging.getLogger(__name__)
_NEGATIVES = 1024  # items a step
_FEW_STEPS = 20  # up to which tracing a graph takes longer than running the steps without one


def update_users(
    directory: str | Path, source: Source | None = None,
    root: str | Path | None = None, batch_size: int = 256, learning_rate: float | None = None,
    rejected_limit: float | None = None, key: Key | None = None,
) -> Path | None:
    """Trains the rows of the user table on new events, in order of time, and publishes them as a delta.

    All other weights are frozen, so the embedding space, item vectors and index do not change. New users get rows,
    which start from the row of unknown users. The delta belongs to the newest version under `root`. A running server
    applies it without loading the version again. Events of items that the version does not know wait for the full
    update.

    Args:
      directory: the run that serves.
      source: the configuration of the source of the new events; None if the run's own source has grown.
      root: the folder of all versions; by default the run's `export/`.
      batch_size: events of a step.
      learning_rate: of the recipe's optimizer in this update; None: the recipe's. A pass over few events makes only a
        few steps per row, so a larger rate can help: `bench/bench_replay.py` measures it.
      rejected_limit: the fraction of bad rows at which it stops; None: the recipe's.
      key: the `Key` that signs the delta. It must have signed the version and the earlier deltas. None: the delta is
        not signed.

    Returns:
      The delta's path; None if there is nothing to learn from.

    Raises:
      ConfigError: the query tower has no table of user ids, is an ensemble or of a sequence model, nothing is
        exported, or not by this run, or the log has no times.
      ExportError: an earlier delta cannot be read, or `key` did not sign it; or it or the version is signed and there
        is no `key`.
    """
    directory = Path(directory).resolve()
    root = Path(root) if root else directory / runs.EXPORT
    recipe = runs.read_config(directory).recipe
    _check_user_table(recipe)
    version = _newest_version(root)
    contents, identity = manifest.identified(root / str(version), key)
    space, seal = contents["embedding_space"], None if key is None else Seal(key, identity)
    user_deltas.check_seal(root, version, seal)  # before all that takes long
    before, served = user_deltas.read(root, version, space, seal), runs.weights(directory, space)
    since = (before[-1].trained_until if before else served.trained_until) + 1
    found = new_events(
        recipe, directory, source, since, recipe.rejected_limit if rejected_limit is None else rejected_limit
    )
    if found is None:
        return None
    a, rows = _assembled(recipe, *found, read_fields(served.folder))
    field: IdField = a.model.query_tower.user_table  # type: ignore[assignment]  # as was checked
    train = _of_known_items(a)
    if not len(train):
        _log.warning("No event later than %s UTC has an item that the version knows: such events wait for the full "
                     "update.", moment(since - 1))
        return None
    parts = _batches(a, train, batch_size)
    with weights_loaded_next():
        a.model(parts[0].whole_batch(0))  # makes them
    _start_from(served.folder, before, a, rows)
    start = field.table.numpy()
    _train(a, field, parts, learning_rate)
    users = np.flatnonzero(np.any(field.table.numpy() != start, axis=1))
    users = users[users > 0]
    return user_deltas.publish(root, version, user_deltas.UserDelta(
        space, int(a.log.timestamp[a.split.train[-1]]), field.vocabulary.get_vocabulary()[users],
        field.table.numpy()[users],
    ), seal)


def revert_users(directory: str | Path, root: str | Path | None = None, key: Key | None = None) -> Path | None:
    """Withdraws the newest delta of the newest version; returns its path, or None if there is none.

    key: the `Key` that signed the deltas; None: they are not signed.
    """
    root = Path(root) if root else Path(directory).resolve() / runs.EXPORT
    version = _newest_version(root)
    seal = None if key is None else Seal(key, manifest.identified(root / str(version), key)[1])
    return user_deltas.withdraw(root, version, seal)


def _newest_version(root: Path) -> int:
    version = next_version(root) - 1
    if not version:
        raise ConfigError(invalid("root", "hold an exported version", str(root), "Run `twotower export` first."))
    return version


def _check_user_table(recipe: Recipe) -> None:
    if recipe.schema is None:  # of a run without weights, of which there is no version either
        return
    features, sequence = recipe.schema.query, makes(recipe.model.query_encoder, SequenceEncoder)
    table = any(isinstance(f, Id) and f.column == c.USER_ID and not f.buckets for f in features)
    if not table or recipe.ensemble or sequence:
        rule = "have an Id of `user_id` with a vocabulary in its query, and neither an ensemble nor a sequence encoder"
        raise ConfigError(invalid("recipe", rule, [f.name for f in features], "Else run a full update."))


def _assembled(
    recipe: Recipe, log: InteractionLog, new: np.ndarray, states: States
) -> tuple[Assembly, dict[str, dict[str, np.ndarray]]]:
    """(the model on the events of the users with new ones, which all train; second result of `of_ids_in`). Only the
    vocabulary of users grows. Second copies of events are left out.

    new: bool [log rows].
    """
    # A few minutes have too few events, of too few users, for in-batch negatives.
    model = dataclasses.replace(recipe.model, negatives=(Uniform(_NEGATIVES),), logq=StaticLogQ())
    recipe = dataclasses.replace(recipe, model=model)
    own, rows = log.of_users(np.unique(log.user[new]))
    train, past = (np.flatnonzero(chosen[rows]) for chosen in (new, ~new & ~log.again))
    split = Split(train, Queries.none(), Queries.none(), past=past)
    states, places = of_ids_in(own, recipe.schema, states)  # type: ignore[arg-type]  # that of a run is there
    return assemble(recipe, own, states, split=split, grow=is_user_table, whole=(log, ~log.again)), places


def _of_known_items(a: Assembly) -> np.ndarray:
    """int64: the training rows whose items have rows in the table of item ids; all, if known items may have none."""
    rows, table = a.split.train, a.item_table
    if table is None or table.feature.min_count > 1:
        return rows
    return rows[a.examples.item_rows(table)[a.log.item[rows]] > 0]


def _start_from(
    folder: Path, deltas: Sequence[user_deltas.UserDelta], a: Assembly, rows: dict[str, dict[str, np.ndarray]]
) -> None:
    """Loads the weights of a training, then earlier deltas, in order. New users' rows start from that of unknown ones.

    rows: second result of `of_ids_in`.
    """
    towers = {"query": a.model.query_tower, "candidate": a.model.candidate_tower}
    warm_start(a.model, folder, [
        (f.table, rows[side][f.name]) for side, tower in towers.items() for f in tower.fields if f.name in rows[side]
    ])
    for ids in filter(is_user_table, a.model.query_tower.fields):
        table = ids.table.numpy()
        table[len(rows["query"][ids.name]):] = table[0]
        ids.table.assign(table)
    field: IdField = a.model.query_tower.user_table  # type: ignore[assignment]  # as was checked
    table, keys = field.table.numpy(), field.vocabulary.get_vocabulary(False)
    for delta in deltas:
        _, own, at = np.intersect1d(keys, delta.keys, True, return_indices=True)
        table[own + 1] = delta.rows[at]  # users without new events may be in no vocabulary
    field.table.assign(table)


def _batches(a: Assembly, rows: np.ndarray, batch_size: int) -> list[TrainingBatches]:
    """Those of one pass over all events in the order of time. The last events, too few for a batch, are the second."""
    config = dataclasses.replace(a.recipe.training, batch_size=batch_size, order="time", resampling=None)
    whole = len(rows) - len(rows) % batch_size
    return [TrainingBatches(a.examples, part, config, known=a.split.known)
            for part in (rows[:whole], rows[whole:]) if len(part)]


def _train(
    a: Assembly, field: IdField, parts: Sequence[TrainingBatches], learning_rate: float | None
) -> None:
    """One pass over all batches; gradients only for the user table."""
    settings = a.recipe.training.optimizer
    if learning_rate is not None:
        settings = dataclasses.replace(settings, learning_rate=learning_rate)
    steps = sum(part.steps_per_epoch for part in parts)
    optimizer = build(settings, steps)
    optimizer.build([field.table])

    def step(batch: dict[str, Any]) -> None:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(field.table)
            loss = a.model.compute_loss(batch, training=False)
        optimizer.apply_gradients([(tape.gradient(loss, field.table), field.table)])

    if steps > _FEW_STEPS:
        step = tf.function(step, [tf.nest.map_structure(_of_any_size, parts[0].whole_batch(0))], autograph=False)
    for part in parts:
        for number in range(part.steps_per_epoch):
            step(part.whole_batch(number))


def _of_any_size(array: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec([None] * array.shape.rank, array.dtype)
