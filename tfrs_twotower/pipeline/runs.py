"""A run's folder: `runs/<recipe>/<time>/`, and `runs/<recipe>/latest` that points to the newest."""

import contextlib
import dataclasses
import datetime
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfrs_twotower import __version__
from tfrs_twotower.configuration import check_types, from_dict, to_dict
from tfrs_twotower.durable import LOCK, flush, lock, written_aside
from tfrs_twotower.errors import ConfigError, TrainingError, invalid
from tfrs_twotower.exporting import publishing
from tfrs_twotower.features import with_layers_in
from tfrs_twotower.models import ScoreWeights
from tfrs_twotower.recipe import Recipe

CONFIG, METRICS, REJECTED, REFUSED = "config.json", "metrics.json", "rejected.parquet", "refused.json"
CHECKPOINT, REFIT, REPORT, EXPORT, POPULARITY = "checkpoint", "refit", "report", "export", "popularity.json"
LAYERS, LOG, INDEX, RANKS = "layers", "log", "index", "ranks"
RACE: str = "race"
RACE_RESULT: str = "race.json"
_DONE = "done.json"
_TRAINED = (CONFIG, REJECTED, CHECKPOINT, POPULARITY, LAYERS, LOG, RACE, RACE_RESULT)  # what `fit` writes
_HELD: set[tuple[Path, int]] = set()  # (folder, thread): the folders that this process writes to


def create(root: str | Path, name: str) -> Path:
    """Makes `root/name/<time>`. Removes what trainings and updates beside it left that were killed before they trained.

    Returns:
      The new folder's path.

    Raises:
      ConfigError: `root` is a file, or cannot be written.
    """
    parent = Path(root) / name
    _remove_unused(parent)
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


def _remove_unused(parent: Path) -> None:
    """Removes folders without `config.json` that a killed process left: nothing can go on there."""
    for marker in parent.glob(f"*/{LOCK}"):
        folder = marker.parent
        names = {name for name in os.listdir(folder) if not name.endswith(".writing")}
        if folder.is_symlink() or not names <= {LOCK, REFUSED, REJECTED, LOG, LAYERS}:
            continue
        with contextlib.suppress(OSError), lock(folder):  # one that lives holds the lock
            if not (folder / CONFIG).exists():
                shutil.rmtree(folder)


@contextlib.contextmanager
def writing(directory: str | Path) -> Iterator[None]:
    """Locks a run's folder against other processes while the block runs. A missing folder is made.

    The system releases the lock when the process dies. A folder in which the block wrote nothing is removed. If a
    caller in this thread holds the lock already, nothing more is done.

    Raises:
      ConfigError: the folder cannot be written.
      TrainingError: another process writes to it.
    """
    path = Path(directory).resolve(), threading.get_ident()
    if path in _HELD:
        yield
        return
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
        _HELD.add(path)
        try:
            yield
        finally:
            _HELD.discard(path)
            with contextlib.suppress(OSError):
                if os.listdir(directory) == [LOCK]:
                    os.unlink(held.name)
                    os.rmdir(directory)


@contextlib.contextmanager
def kept_from_checkpoint_on(directory: str | Path) -> Iterator[None]:
    """Removes a training's files from a run's folder if the block fails before the first checkpoint."""
    directory = Path(directory)
    new = [path for path in map(directory.joinpath, _TRAINED) if path.name == REJECTED or not path.exists()]
    try:
        yield
    except BaseException:
        if not [*directory.glob(f"{CHECKPOINT}/last/checkpoint"), *directory.glob(f"{RACE}/*/last/checkpoint")]:
            for path in new:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        raise


def forget_unused_log(directory: str | Path) -> None:
    """Removes the log of a training that was killed before it wrote `config.json`. The next one reads its own."""
    if not (Path(directory) / CONFIG).is_file():
        shutil.rmtree(Path(directory) / LOG, ignore_errors=True)


def point_latest(directory: str | Path) -> None:
    """Points `latest` beside `directory` to it, in one step."""
    directory = Path(directory)
    aside = directory.parent / f".latest-{os.getpid()}"
    aside.unlink(missing_ok=True)
    aside.symlink_to(directory.name)
    os.replace(aside, directory.parent / "latest")
    flush(directory.parent)


def next_version(directory: str | Path) -> int:
    """The number of a run's next version.

    Versions count up over all runs of a recipe, so that a server that follows `latest` sees a new number.
    """
    return max(map(publishing.next_version, Path(directory).parent.glob(f"*/{EXPORT}")), default=1)


def write_json(path: str | Path, value: Any) -> None:
    """Writes JSON; a reader never sees half a file."""
    with written_aside(path) as file:
        file.write((json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The contents of `config.json`.

    Attributes:
      recipe: the recipe as run.
      embedding_space: the id of its training's space; vectors of two spaces cannot be compared.
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
      epochs: the number that it trained.
      held_out: the number of its training events that were held out in the run's first training.
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
    """Writes a `Refit`; from then on its weights are served."""
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
        try:
            reason = json.loads(file.read_text(encoding="utf-8"))["reason"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:  # refused is refused
            reason = f"{file}, which says why, cannot be read ({error})."
        raise ConfigError(invalid("run", rule, str(directory), f"Refused: {reason} {way_out}"))


def with_layers(recipe: Recipe, directory: str | Path, write: bool = False) -> Recipe:
    """The recipe, with the user's own Keras layers as files of the run; `write`: whether they are written."""
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
        neighbours = data["recipe"]["model"].get("neighbours")
        if neighbours:  # of a run of 0.2.0, which had no powers
            data["recipe"]["model"]["neighbours"] = {"user_power": 0.0, "item_powers": [0.0], **neighbours}
        config = RunConfig(**{**data, "recipe": from_dict(data["recipe"])})
        check_types(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read ({error}). Name a folder that `twotower train` wrote.") from error
    return dataclasses.replace(config, recipe=with_layers(config.recipe, directory))  # the run may have moved


def is_trained(directory: str | Path) -> bool:
    """Whether the run's first training has ended: it writes the `score_weights` last."""
    return (Path(directory) / POPULARITY).is_file()


def score_weights(directory: str | Path) -> ScoreWeights:
    """The `ScoreWeights` of a run; zeros of a run that stopped before they were chosen.

    Raises:
      ConfigError: their file cannot be read.
    """
    file = Path(directory) / POPULARITY
    try:
        kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"weight": 0.0}
        return ScoreWeights(float(kept["weight"]), *(float(kept.get(name, 0.0)) for name in ("neighbours", "repeats")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        way_out = "Remove it: `twotower train --resume` chooses the weights anew."
        raise ConfigError(f"{file} cannot be read ({error!r}). {way_out}") from error


def read_metrics(directory: str | Path) -> dict[str, Any]:
    """The figures of a run, from `metrics.json`; {} if there is no such file.

    Raises:
      ConfigError: it cannot be read.
    """
    file = Path(directory) / METRICS
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read ({error}). Remove it, and evaluate the run again.") from error
