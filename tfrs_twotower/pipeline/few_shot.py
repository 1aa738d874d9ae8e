"""The `FewShot` of a training's new users and items: learned from its own as if they were new, and kept."""

from pathlib import Path

import numpy as np

from tfrs_twotower.durable import DAMAGED_NPZ, written_aside
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.models import FewShot, means
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.searching import people
from tfrs_twotower.training import is_chief

_FILE = "few_shot.npz"
_TASKS = 1000  # users and items from which a start is learned
Tasks = tuple[np.ndarray, np.ndarray]  # the arguments of `FewShot.learn`


def learn_few_shot(assembly: Assembly, folder: Path) -> None:
    """Gives a trained model its `FewShot`s, if the recipe has them, and keeps their starts in the training's folder."""
    a = assembly
    _make(a)
    if a.new_users:
        a.new_users.learn(*as_new_users(a, a.new_users.settings.events))
    if a.new_items:
        a.new_items.learn(*as_new_items(a, a.new_items.settings.events))
    if a.recipe.model.few_shot and is_chief():
        with written_aside(folder / _FILE) as f:
            users, items = (few.start if few else np.zeros(0) for few in (a.new_users, a.new_items))
            np.savez(f, users=users, items=items)


def restore_few_shot(assembly: Assembly, folder: Path) -> None:
    """Gives a model the `FewShot`s that `learn_few_shot` kept.

    Raises:
      TrainingError: their file cannot be read.
    """
    a, file = assembly, folder / _FILE
    _make(a)
    if not a.recipe.model.few_shot:
        return
    try:
        with np.load(file, allow_pickle=False) as arrays:
            for side, few in (("users", a.new_users), ("items", a.new_items)):
                if few:
                    few.start = arrays[side]
    except DAMAGED_NPZ as error:
        raise TrainingError(f"{file} cannot be read ({error}). Train the run anew.") from error


def as_new_users(a: Assembly, events: int) -> Tasks:
    """The users of the training after so many events: their query vectors without ids, and the means of their items."""
    rows = _drawn(_nth(a.log.user, a.split.train, events), a)
    if not len(rows):
        return _none(a)
    return a.tower_vectors(rows, known=False), means(a.item_vectors(), a.terms.newest(rows, events)).numpy()


def as_new_items(a: Assembly, events: int) -> Tasks:
    """The items of the training: their vectors without ids, the means of the query vectors at their first events."""
    last = _drawn(_nth(a.log.item, a.split.train, events - 1), a)
    if not len(last):
        return _none(a)
    order = a.split.train[np.argsort(a.log.item[a.split.train], kind="stable")]
    at = np.searchsorted(a.log.item[order], a.log.item[last])
    firsts = a.tower_vectors(order[at[:, np.newaxis] + np.arange(events)].ravel())
    content = a.item_vectors(a.positions(a.log.item[last]), known=False)
    return content, firsts.reshape(len(last), events, -1).mean(axis=1)


def _make(a: Assembly) -> None:
    """Gives a model its `FewShot`s, with starts of 0."""
    settings, seed, scale = a.recipe.model.few_shot, a.recipe.training.seed, 1.0 / a.model.temperature
    a.new_users = a.new_items = None
    if settings is None:
        return
    if settings.users:
        a.new_users = FewShot(a.item_vectors(), scale, settings, seed)
    if settings.items:
        a.new_items = FewShot(people(a).vectors[:, : a.model.query_tower.dim], scale, settings, seed)


def _none(a: Assembly) -> Tasks:
    nobody = np.zeros([0, a.model.query_tower.dim], np.float32)
    return nobody, nobody


def _nth(keys: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """Of ascending log rows those that are number n, counted from 0, of their user or item (`keys` of all log rows)."""
    order = rows[np.argsort(keys[rows], kind="stable")]
    number = np.arange(len(order)) - np.searchsorted(keys[order], keys[order])
    return np.sort(order[number == n])


def _drawn(rows: np.ndarray, a: Assembly) -> np.ndarray:
    return np.sort(np.random.default_rng(a.recipe.training.seed).permutation(rows)[:_TASKS])
