"""Small files of new user rows beside an export's versions: numbered, checked, applied in order.

`<export root>/deltas/<version>/000001.npz` and `000001.json`. The JSON file comes last and holds the checksum of
the other, so a delta that was cut short does not count. NumPy alone: a server reads it between requests.
"""

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfrs_twotower.durable import flush, written_aside
from tfrs_twotower.errors import ExportError
from tfrs_twotower.exporting.manifest import checksum

_FOLDER = "deltas"


@dataclasses.dataclass(frozen=True)
class UserDelta:
    """New rows of the user table.

    Attributes:
      embedding_space: of the version that it belongs to.
      trained_until: seconds since 1970, the time of the last event that it learned from.
      keys: int64 [n], fingerprints of user ids.
      rows: float32 [n, dim].
    """

    embedding_space: str
    trained_until: int
    keys: np.ndarray = dataclasses.field(repr=False)
    rows: np.ndarray = dataclasses.field(repr=False)


def publish(root: str | Path, version: int, delta: UserDelta) -> Path:
    """Writes a delta as the next of a version, aside first; returns its path.

    Args:
      root: the folder of all versions.
      version: the number of the one that it belongs to.
      delta: a `UserDelta`.
    """
    folder = _folder(root, version)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(_numbers(folder)) + 1:06}.npz"
    with written_aside(path) as file:
        np.savez(file, keys=delta.keys, rows=delta.rows)
    about = {"embedding_space": delta.embedding_space, "trained_until": delta.trained_until, "sha256": checksum(path)}
    with written_aside(path.with_suffix(".json")) as file:
        file.write(json.dumps(about).encode())
    return path


def read(root: str | Path, version: int, embedding_space: str | None) -> list[UserDelta]:
    """The deltas of a version, in order: a list of `UserDelta`.

    Raises:
      ExportError: one is damaged, missing or of another embedding space; names it. None is given then.
    """
    folder, deltas = _folder(root, version), []
    for number in _numbers(folder):
        path = folder / f"{number:06}.npz"
        if number != len(deltas) + 1:
            raise ExportError(f"{folder}: delta {len(deltas) + 1} is missing. Publish the users' update again.")
        try:
            about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            if checksum(path) != about["sha256"]:
                raise ExportError(f"{path} does not have the checksum that it was written with. Publish it again.")
            if about["embedding_space"] != embedding_space:
                raise ExportError(f"{path} is of another embedding space. Publish deltas for this version.")
            with np.load(path, allow_pickle=False) as arrays:
                delta = UserDelta(
                    embedding_space,  # type: ignore[arg-type]  # that of the delta's file
                    int(about["trained_until"]), arrays["keys"], arrays["rows"],
                )
        except (OSError, ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile) as error:
            raise ExportError(f"{path} cannot be read ({error}). Publish the users' update again.") from error
        deltas.append(delta)
    return deltas


def stamp(root: str | Path, version: int) -> tuple[tuple[str, int], ...]:
    """What changes when the deltas of a version do: (name, time of change) of each."""
    folder = _folder(root, version)
    return tuple((path.name, path.stat().st_mtime_ns) for path in sorted(folder.glob("[0-9]*.json")))


def merged(deltas: Sequence[UserDelta]) -> tuple[np.ndarray, np.ndarray]:
    """(keys int64 [n], rows float32 [n, dim]) of deltas in order: the last row of each user."""
    keys = np.concatenate([delta.keys for delta in deltas])
    rows = np.concatenate([delta.rows for delta in deltas])
    distinct, last = np.unique(keys[::-1], return_index=True)
    return distinct, rows[::-1][last]


def withdraw(root: str | Path, version: int) -> Path | None:
    """Takes back the newest delta of a version; returns its path, or None where there is none."""
    folder = _folder(root, version)
    numbers = _numbers(folder)
    if not numbers:
        return None
    path = folder / f"{numbers[-1]:06}.npz"
    path.with_suffix(".json").unlink()  # first: without it the other does not count
    path.unlink()
    return path


def clear(root: str | Path, version: int) -> None:
    """Removes all deltas of a version."""
    folder = _folder(root, version)
    if folder.is_dir():
        shutil.rmtree(folder)


def copy(root: str | Path, version: int, to: int) -> None:
    """Gives another version the deltas of this one. The other one is not published yet, so nobody reads half of it."""
    source, target = (_folder(root, number) for number in (version, to))
    if _numbers(source):
        shutil.copytree(source, target)
        for path in [*target.iterdir(), target, target.parent]:
            flush(path)


def _folder(root: str | Path, version: int) -> Path:
    return Path(root) / _FOLDER / str(version)


def _numbers(folder: Path) -> list[int]:
    """Numbers of the whole deltas, ascending."""
    return sorted(int(path.stem) for path in folder.glob("[0-9]*.json"))
