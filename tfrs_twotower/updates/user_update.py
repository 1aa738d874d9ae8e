"""The update of user rows: new events train only the table rows of their users."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog, Queries, Source, Split, ingest, joined, parts_of
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.exporting import Key, Seal, manifest, next_version, user_deltas
from tfrs_twotower.features import Id, IdField, fingerprints, is_user_table, key_tensor, weights_loaded_next
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembling import assemble, completed
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.learned_fields import read_fields
from tfrs_twotower.pipeline.reading import read_behind
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.sampling import StaticLogQ, Uniform
from tfrs_twotower.training import TrainingBatches, warm_start
from tfrs_twotower.training.optimizers import build

_log = logging.getLogger(__name__)
_NEGATIVES = 1024  # items of the catalogue a step
_FEW_STEPS = 20  # up to which tracing a graph takes longer than running the steps without one
_States = dict[str, dict[str, dict[str, np.ndarray]]]  # {side: {field name: state}}


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
      ConfigError: the query tower has no table of user ids, nothing is exported, or not by this run, or the log has no
        times.
      ExportError: an earlier delta cannot be read, or `key` did not sign it; or it or the version is signed and there
        is no `key`.
    """
    directory = Path(directory).resolve()
    root = Path(root) if root else directory / runs.EXPORT
    config = runs.read_config(directory)
    limit = config.recipe.rejected_limit if rejected_limit is None else rejected_limit
    whole = joined(config.recipe.source, source)
    log, _ = ingest(whole, limit=limit) if source is None else read_behind(directory, whole, limit)
    if not log.timed:
        rule, way_out = "be a run on a log with times, to know the new events", "Train anew, on all of the log."
        raise ConfigError(invalid("directory", rule, str(directory), way_out))
    again = log.again
    if source is not None:
        new = log.new_in(part := len(parts_of(whole)) - 1)
        if not new.any():
            there = np.count_nonzero(log.part == part)
            said = (f"The log has all of the {there} new events already" if there else
                    f"{source.name} has no new event that is a like")
            _log.warning("%s. Name others by --interactions.", said)
            return None
    version = _newest_version(root)
    contents, identity = manifest.identified(root / str(version), key)
    space, seal = contents["embedding_space"], None if key is None else Seal(key, identity)
    user_deltas.check_seal(root, version, seal)  # before all that takes long
    before, served = user_deltas.read(root, version, space, seal), runs.weights(directory, space)
    since = (before[-1].trained_until if before else served.trained_until) + 1
    new = (log.timestamp >= since) & ~again
    if not new.any():
        _log.warning("None of the %d events is later than %s UTC, the time of the newest learned event. Name "
                     "a file with later ones by --interactions.", len(log), _moment(since - 1))
        return None
    states = read_fields(served.folder)
    a, place = _assembled(config.recipe, log, new, states, again)
    field = a.model.query_tower.user_table
    if field is None:
        rule = "have an Id of `user_id` with a vocabulary among its query features"
        raise ConfigError(invalid("recipe.schema", rule, [f.name for f in a.model.query_tower.fields],
                                  "Without one, users have no rows of their own: run a full update."))
    rows = a.split.train[a.positions(a.log.item[a.split.train]) >= 0]
    if not len(rows):
        _log.warning("No event later than %s UTC has an item that the version knows: such events wait for the full "
                     "update.", _moment(since - 1))
        return None
    parts = _batches(a, rows, batch_size)
    with weights_loaded_next():
        a.model(parts[0].whole_batch(0))  # makes them
    warm_start(a.model, served.folder, (field.table, place))
    _take_up(field, before, known=len(place) - 1)
    start = field.table.numpy()
    _train(a, field, parts, learning_rate)
    users = np.unique(field.vocabulary(_ids(a.log, rows)).numpy())
    users = users[(users > 0) & np.any(field.table.numpy()[users] != start[users], axis=1)]
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


def _moment(seconds: int) -> np.datetime64:
    return np.datetime64(int(seconds), "s")


def _newest_version(root: Path) -> int:
    version = next_version(root) - 1
    if not version:
        raise ConfigError(invalid("root", "hold an exported version", str(root), "Run `twotower export` first."))
    return version


def _assembled(
    recipe: Recipe, log: InteractionLog, new: np.ndarray, states: _States, again: np.ndarray,
) -> tuple[Assembly, np.ndarray]:
    """(the model on the events of the users with new ones, which all train; the rows of the served table that its own
    begins with: row 0, and those of these users). Only the vocabulary of users grows.

    `new`, `again`: bool [log rows]. Second copies of events are left out. Items are counted in the whole log.
    """
    # A few minutes have too few events, of too few users, for in-batch negatives.
    model = dataclasses.replace(recipe.model, negatives=(Uniform(_NEGATIVES),), logq=StaticLogQ())
    recipe = dataclasses.replace(recipe, model=model)
    whole = log, ~again
    log, rows = log.of_users(np.unique(log.user[new]))
    train, past = (np.flatnonzero(chosen[rows]) for chosen in (new, ~new & ~again))
    split = Split(train, Queries.none(), Queries.none(), past=past)
    states, place = _of_users(recipe, states, log)
    return assemble(recipe, log, states, split=split, grow=is_user_table, whole=whole), place


def _of_users(recipe: Recipe, states: _States, log: InteractionLog) -> tuple[_States, np.ndarray]:
    """(the states, with the keys of the log's users alone in the field of user ids; see `_assembled`)."""
    schema = recipe.schema or completed(recipe, log).schema
    ids = (f.name for f in schema.query if isinstance(f, Id) and f.column == c.USER_ID and not f.buckets)
    name = next(ids, None)  # that of `Tower.user_table`
    if name is None:  # an error says that there is no table
        return states, np.zeros(1, np.int64)
    field = states["query"][name]
    asked = fingerprints(key_tensor(log.users[c.USER_ID], c.USER_ID)).numpy()
    rows = np.flatnonzero(np.isin(field["keys"], asked))
    query = {**states["query"], name: {**field, "keys": field["keys"][rows]}}
    return {**states, "query": query}, np.concatenate([[0], rows + 1])


def _take_up(field: IdField, deltas: Sequence[user_deltas.UserDelta], known: int) -> None:
    """Rows of new users start from the row of unknown ones; then earlier deltas, in order."""
    table = field.table.numpy()
    table[known + 1:] = table[0]
    keys = field.vocabulary.get_vocabulary(False)
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


def _ids(log: InteractionLog, rows: np.ndarray) -> tf.Tensor:
    return key_tensor(log.users[c.USER_ID].take(np.unique(log.user[rows])), c.USER_ID)
