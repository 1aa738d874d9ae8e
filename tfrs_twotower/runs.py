"""A run's folder: `runs/<recipe>/<time>/`, and `runs/<recipe>/latest` that points to the newest."""

import contextlib
import dataclasses
import datetime
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_twotower import __version__
from tfrs_twotower.configuration import check_types, from_dict, to_dict
from tfrs_twotower.durable import LOCK, flush, lock
from tfrs_twotower.errors import ConfigError, TrainingError, invalid
from tfrs_twotower.exporting import publishing
from tfrs_twotower.exporting.rollbacks import rollbacks
from tfrs_twotower.features import with_layers_in
from tfrs_twotower.models import ScoreWeights, TwoTowerModel
from tfrs_twotower.recipe import Recipe

CONFIG, METRICS, REJECTED, REFUSED = "config.json", "metrics.json", "rejected.parquet", "refused.json"
CHECKPOINT, REFIT, REPORT, EXPORT, POPULARITY = "checkpoint", "refit", "report", "export", "popularity.json"
LAYERS, INDEX = "layers", "index"
_FIELDS, _DONE = "fields.npz", "done.json"


def create(root: str | Path, name: str) -> Path:
    """Makes `root/name/<time>` and points `root/name/latest` to it.

    Returns:
      The new folder's path.

    Raises:
      ConfigError: `root` is a file, or cannot be written.
    """
    parent = Path(root) / name
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    for attempt in range(1000):
        directory = parent / (stamp if not attempt else f"{stamp}-{attempt}")
        try:
            directory.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            rule, way_out = "be a folder that can be written", f"The system says: {error}."
            raise ConfigError(invalid("runs", rule, str(root), way_out)) from error
    return directory


@contextlib.contextmanager
def writing(directory: str | Path) -> Iterator[None]:
    """Keeps other processes from writing to a run's folder while the block runs; it is made where it is missing.

    The system lets go of it when the process dies. A folder in which the block wrote nothing is removed.

    Raises:
      ConfigError: the folder cannot be written.
      TrainingError: another process writes to it.
    """
    try:
        held = lock(directory)
    except BlockingIOError as error:
        raise TrainingError(
            f"Another process trains or updates the run in {directory}. Wait until it ends, or stop it. A training "
            "goes on with --resume, or into another folder with --folder."
        ) from error
    except OSError as error:
        raise ConfigError(f"{directory} cannot be written ({error}). Name another folder.") from error
    with held:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if os.listdir(directory) == [LOCK]:
                    os.unlink(held.name)
                    os.rmdir(directory)


def point_latest(directory: str | Path) -> None:
    """Points `latest` beside `directory` to it, in one step."""
    directory = Path(directory)
    aside = directory.parent / f".latest-{os.getpid()}"
    aside.unlink(missing_ok=True)
    aside.symlink_to(directory.name)
    os.replace(aside, directory.parent / "latest")
    flush(directory.parent)


def next_version(directory: str | Path) -> int:
    """The number of a run's next version: versions count up over all runs of a recipe, so that a server that follows
    `latest` sees a new number."""
    return max(map(publishing.next_version, Path(directory).parent.glob(f"*/{EXPORT}")), default=1)


def write_json(path: str | Path, value: Any) -> None:
    """Writes JSON beside the file and renames it, so that a reader never meets half a file."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(aside, path)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What `config.json` keeps.

    Attributes:
      recipe: the recipe as run.
      embedding_space: the id of the space that its training makes; vectors of two spaces cannot be compared.
      fingerprint: of the log that it was trained on.
      trained_until: seconds since 1970, the time of the last event that it trained on. A refit has its own time and
        its own space (`Refit`).
      parent: the folder of the run that it started from, or None.
      code: the version of this package.
    """

    recipe: Recipe
    embedding_space: str
    fingerprint: str
    trained_until: int
    parent: str | None = None
    code: str = __version__


@dataclasses.dataclass(frozen=True)
class Refit:
    """The record of a finished refit, kept beside its checkpoints.

    Attributes:
      embedding_space, trained_until: as in `RunConfig`, of the refit.
      epochs: how many it trained.
      held_out: how many of its training events were held out in the run's first training.
    """

    embedding_space: str
    trained_until: int
    epochs: int
    held_out: int


@dataclasses.dataclass(frozen=True)
class Weights:
    """A trained model in a run.

    Attributes:
      folder: of its checkpoints and its fields.
      embedding_space, trained_until: as in `RunConfig`.
    """

    folder: Path
    embedding_space: str
    trained_until: int


def weights(directory: str | Path, space: str | None = None) -> Weights:
    """The `Weights` that a run serves: those of its refit or, if it has none, of its first training.

    With the id of an embedding `space`: the weights that made it.

    Raises:
      ConfigError: a file of the run cannot be read, or none of its weights made `space`.
    """
    directory, config, done = Path(directory), read_config(directory), read_refit(directory)
    found = [Weights(directory / CHECKPOINT, config.embedding_space, config.trained_until)]
    if done is not None:
        found.insert(0, Weights(directory / REFIT, done.embedding_space, done.trained_until))
    for kept in found:
        if space in (None, kept.embedding_space):
            return kept
    spaces, way_out = [kept.embedding_space for kept in found], "Name the run that it comes from, or export this one."
    raise ConfigError(invalid("run", f"have trained the exported version, of the space {space}", spaces, way_out))


def write_refit(directory: str | Path, refit: Refit) -> None:
    """Writes a `Refit`; from now on its weights are served."""
    write_json(Path(directory) / REFIT / _DONE, vars(refit))


def read_refit(directory: str | Path) -> Refit | None:
    """The `Refit` of a run; None if there is none or it is not finished.

    Raises:
      ConfigError: it cannot be read.
    """
    path = Path(directory) / REFIT / _DONE
    if not path.exists():
        return None
    try:
        refit = Refit(**json.loads(path.read_text(encoding="utf-8")))
        check_types(refit)
        return refit
    except (OSError, ValueError, TypeError, RecursionError) as error:
        way_out = f"Remove {path.parent}: `twotower train --resume` makes it anew."
        raise ConfigError(f"{path} cannot be read ({error}). {way_out}") from error


def check_passed(directory: str | Path, way_out: str) -> None:
    """Raises `ConfigError` for the run of an update that did not pass its gate; `way_out` ends its message."""
    file = Path(directory) / REFUSED
    if file.exists():
        rule = "have passed its gate, to be published"
        reason = json.loads(file.read_text())["reason"]
        raise ConfigError(invalid("run", rule, str(directory), f"Refused: {reason} {way_out}"))


def with_layers(recipe: Recipe, directory: str | Path, write: bool = False) -> Recipe:
    """The recipe, whose Keras layers of one's own are files of the run; `write`: which are written."""
    folder = Path(directory).resolve() / LAYERS
    schema = None if recipe.schema is None else with_layers_in(folder, recipe.schema, write)
    return dataclasses.replace(recipe, schema=schema, derived=with_layers_in(folder, recipe.derived, write))


def write_config(directory: str | Path, config: RunConfig) -> None:
    """Keeps a `RunConfig`."""
    write_json(Path(directory) / CONFIG, {**vars(config), "recipe": to_dict(config.recipe)})


def read_config(directory: str | Path) -> RunConfig:
    """The `RunConfig` of a run.

    Raises:
      ConfigError: `config.json` cannot be read.
    """
    path = Path(directory) / CONFIG
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        config = RunConfig(**{**data, "recipe": from_dict(data["recipe"])})
        check_types(config)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read ({error}). Name a folder that `twotower train` wrote.") from error
    return dataclasses.replace(config, recipe=with_layers(config.recipe, directory))  # the run may have moved


def lineage(directory: str | Path) -> list[dict[str, Any]]:
    """The ancestry of a run: a list of dicts, from this run back to the first training.

    Each has run (its folder's name), code, data (SHA-256 of the log), seed, trained_until and embedding_space (of the
    `weights` that are served), parent (a name or None), refused (true of an update that did not pass its gate) and
    rollbacks (those that made it serve again: `exporting.rollbacks`). Where a parent's folder is gone, the chain ends
    with {"run": name, "missing": True}.

    Raises:
      ConfigError: `directory` is not a run.
    """
    chain: list[dict] = []
    following: Path | None = Path(directory).resolve()
    while following:
        if chain and not (following / CONFIG).is_file():
            return [*chain, {"run": following.name, "missing": True}]
        config, served = read_config(following), weights(following)
        chain.append({
            "run": following.name,
            "code": config.code,
            "data": config.fingerprint,
            "seed": config.recipe.training.seed,
            "trained_until": served.trained_until,
            "embedding_space": served.embedding_space,
            "parent": Path(config.parent).name if config.parent else None,
            "refused": (following / REFUSED).exists(),
            "rollbacks": rollbacks(following / EXPORT),
        })
        following = Path(config.parent) if config.parent else None
    return chain


def score_weights(directory: str | Path) -> ScoreWeights:
    """The `ScoreWeights` of a run; zeros of a run that stopped before they were chosen."""
    file = Path(directory) / POPULARITY
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"weight": 0.0}
    return ScoreWeights(kept["weight"], kept.get("neighbours", 0.0), kept.get("repeats", 0.0))


def has_fields(folder: str | Path) -> bool:
    """Whether a training has begun in the folder of its checkpoints."""
    return (Path(folder) / _FIELDS).is_file()


def test_metrics(directory: str | Path) -> dict[str, float] | None:
    """{metric: value} of a run on its test queries, from `metrics.json`; None if there is no such file."""
    file = Path(directory) / METRICS
    return json.loads(file.read_text(encoding="utf-8"))["test"] if file.exists() else None


def write_fields(folder: str | Path, model: TwoTowerModel) -> None:
    """Writes the fields' vocabularies and statistics as plain arrays into a training's folder."""
    arrays: dict[str, Any] = {}
    for side, tower in (("query", model.query_tower), ("candidate", model.candidate_tower)):
        for field, state in tower.state().items():
            arrays.update({f"{side}/{field}/{key}": value for key, value in state.items()})
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f".{_FIELDS}", "wb") as f:
        np.savez(f, **arrays)
    os.replace(folder / f".{_FIELDS}", folder / _FIELDS)


def read_fields(folder: str | Path) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """The states that `write_fields` kept: {side: what `Tower.state` returned}.

    Raises:
      TrainingError: they cannot be read.
    """
    file = Path(folder) / _FIELDS
    states: dict[str, dict] = {"query": {}, "candidate": {}}
    try:
        with np.load(file, allow_pickle=False) as arrays:
            for path in arrays.files:
                side, field, key = path.split("/", 2)
                states[side].setdefault(field, {})[key] = arrays[path]
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{file} cannot be read ({error}). Train the run anew.") from error
    return states
