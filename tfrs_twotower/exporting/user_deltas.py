"""Deltas: small files with new rows of the user table, beside an export's versions. They are numbered and checked, and
applied in order.

A delta is the files `<export root>/deltas/<version>/000001.npz` and `000001.json`, and `000001.sig` if it is signed.
The JSON file is written last and holds the checksum of the first, so an incomplete delta does not count. It also holds
the delta's version and number, so that a signed delta counts nowhere else. The format needs NumPy alone, so that a
server can read a delta between requests.
"""

import dataclasses
import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_twotower.durable import checksum, flush, written_aside
from tfrs_twotower.errors import ExportError
from tfrs_twotower.exporting.signing import Key, signature

_FOLDER = "deltas"


@dataclasses.dataclass(frozen=True)
class UserDelta:
    """New rows of the user table.

    Attributes:
      embedding_space: the embedding space of the version that the delta belongs to.
      trained_until: the time of the last event that the rows were trained on, in seconds since 1970.
      keys: int64 [n], fingerprints of user ids.
      rows: float32 [n, dim], the table row of each user.
    """

    embedding_space: str
    trained_until: int
    keys: np.ndarray = dataclasses.field(repr=False)
    rows: np.ndarray = dataclasses.field(repr=False)


def publish(root: str | Path, version: int, delta: UserDelta, key: Key | None = None) -> Path:
    """Writes the next delta of a version, to a temporary file first; returns its path.

    Args:
      root: the folder of all versions.
      version: the number of the version that the delta belongs to.
      delta: a `UserDelta`.
      key: the `Key` that signs it; None: it is not signed.
    """
    folder = _folder(root, version)
    folder.mkdir(parents=True, exist_ok=True)
    number = len(_numbers(folder)) + 1
    path = folder / f"{number:06}.npz"
    with written_aside(path) as file:
        np.savez(file, keys=delta.keys, rows=delta.rows)
    _describe(path.with_suffix(".json"), {
        "embedding_space": delta.embedding_space, "trained_until": delta.trained_until, "sha256": checksum(path),
        "version": version, "number": number,
    }, key)
    return path


def _describe(path: Path, about: dict[str, Any], key: Key | None) -> None:
    """Writes the JSON file of a delta, after its signature."""
    content = json.dumps(about).encode()
    if key is not None:
        key.sign(path, content)
    with written_aside(path) as file:
        file.write(content)


def _said(path: Path, content: bytes, version: int, key: Key | None) -> dict[str, Any]:
    """What the JSON file at `path` says; with a `key`, only if that signed it for this version and place."""
    if key is not None:
        key.verify(path, content)
    about: dict[str, Any] = json.loads(content)
    if key is not None and (about["version"], about["number"]) != (version, int(path.stem)):
        raise ExportError(f"{path} was signed for another version or place. Publish the users' update again.")
    return about


def read(
    root: str | Path, version: int, embedding_space: str | None, key: Key | None = None
) -> list[UserDelta]:
    """The deltas of a version, in order: a list of `UserDelta`. With a `key`, only if that signed each.

    Raises:
      ExportError: a delta is damaged, missing or of another embedding space, or its signature is wrong; the message
        names it. No delta is returned then.
    """
    folder, deltas = _folder(root, version), []
    for number in _numbers(folder):
        path = folder / f"{number:06}.npz"
        if number != len(deltas) + 1:
            raise ExportError(f"{folder}: delta {len(deltas) + 1} is missing. Publish the users' update again.")
        try:
            described, content = path.with_suffix(".json").read_bytes(), path.read_bytes()
            about = _said(path.with_suffix(".json"), described, version, key)
            if hashlib.sha256(content).hexdigest() != about["sha256"]:
                raise ExportError(f"{path} does not have the checksum that it was written with. Publish it again.")
            if about["embedding_space"] != embedding_space:
                raise ExportError(f"{path} is of another embedding space. Publish deltas for this version.")
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                delta = UserDelta(
                    embedding_space,  # type: ignore[arg-type]  # equal to the one in the delta's file
                    int(about["trained_until"]), arrays["keys"], arrays["rows"],
                )
        except (OSError, ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile) as error:
            raise ExportError(f"{path} cannot be read ({error}). Publish the users' update again.") from error
        deltas.append(delta)
    return deltas


def stamp(root: str | Path, version: int) -> tuple[tuple[str, int, int], ...]:
    """(name, modification times of the delta and its signature) of each delta. It changes when the deltas change."""
    folder = _folder(root, version)
    return tuple(
        (path.name, path.stat().st_mtime_ns, signed.stat().st_mtime_ns if (signed := signature(path)).exists() else 0)
        for path in sorted(folder.glob("[0-9]*.json"))
    )


def merged(deltas: Sequence[UserDelta]) -> tuple[np.ndarray, np.ndarray]:
    """(keys int64 [n], rows float32 [n, dim]) of deltas in order. A user has the row of the last delta that has one."""
    keys = np.concatenate([delta.keys for delta in deltas])
    rows = np.concatenate([delta.rows for delta in deltas])
    distinct, last = np.unique(keys[::-1], return_index=True)
    return distinct, rows[::-1][last]


def withdraw(root: str | Path, version: int) -> Path | None:
    """Takes back the newest delta of a version; returns its path, or None if there is none."""
    folder = _folder(root, version)
    numbers = _numbers(folder)
    if not numbers:
        return None
    path = folder / f"{numbers[-1]:06}.npz"
    path.with_suffix(".json").unlink()  # first: without it the `.npz` file does not count
    signature(path).unlink(missing_ok=True)
    path.unlink()
    return path


def clear(root: str | Path, version: int) -> None:
    """Removes all deltas of a version."""
    folder = _folder(root, version)
    if folder.is_dir():
        shutil.rmtree(folder)


def copy(root: str | Path, version: int, to: int, key: Key | None = None) -> None:
    """Copies the deltas of `version` to the version `to`, which is not published yet: no server reads half a copy.

    The caller has read the deltas of `version`, with the same `key` if the copies are to be signed. With a key, they
    are verified again: who can write to `root` must not get a signature of what changed since.

    Raises:
      ExportError: `key` did not sign a delta, or signed it for another version or place.
    """
    source, target = (_folder(root, number) for number in (version, to))
    if _numbers(source):
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.sig"))
        for path in sorted(target.glob("[0-9]*.json")):
            about = _said(source / path.name, path.read_bytes(), version, key)
            _describe(path, {**about, "version": to, "number": int(path.stem)}, key)
        for path in [*target.iterdir(), target, target.parent]:
            flush(path)


def _folder(root: str | Path, version: int) -> Path:
    return Path(root) / _FOLDER / str(version)


def _numbers(folder: Path) -> list[int]:
    """The numbers of the complete deltas, ascending."""
    return sorted(int(path.stem) for path in folder.glob("[0-9]*.json"))
