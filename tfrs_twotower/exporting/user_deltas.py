"""Deltas: small files with new rows of the user table, beside an export's versions. They are numbered and checked, and
applied in order.

A delta is the files `<export root>/deltas/<version>/000001.npz` and `000001.json`. The JSON file is written last and
holds the checksum of the first, so an incomplete delta does not count. If deltas are signed, the file `signed` lists
them. It says the checksum of the version's manifest, so that it counts nowhere else, and how often it was signed, so
that a server knows an earlier list. The format needs NumPy alone, so that a server can read a delta between requests.
"""

import dataclasses
import hashlib
import io
import json
import math
import shutil
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfrs_twotower.durable import DAMAGED_NPZ, content, flush, written_aside
from tfrs_twotower.errors import ExportError
from tfrs_twotower.exporting import manifest
from tfrs_twotower.exporting.signing import ROWS, Seal

_FOLDER, _SIGNED = "deltas", "signed"


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


def publish(root: str | Path, version: int, delta: UserDelta, seal: Seal | None = None) -> Path:
    """Writes the next delta of a version, to a temporary file first; returns its path.

    Args:
      root: the folder of all versions.
      version: the number of the version that the delta belongs to.
      delta: a `UserDelta`.
      seal: the `Seal` that signs it and the ones before, whose signature is verified; None: it is not signed.

    Raises:
      ExportError: the deltas before are not signed by the `seal`; or they or the version are signed and there is none.
    """
    check_seal(root, version, seal)
    folder = _folder(root, version)
    folder.mkdir(parents=True, exist_ok=True)
    before = _Signed() if seal is None else _signed(folder, seal)
    number = 1 + (len(_numbers(folder)) if seal is None else len(before.deltas))
    path, data = folder / f"{number:06}.npz", io.BytesIO()
    np.savez(data, keys=delta.keys, rows=delta.rows)
    about = {
        "embedding_space": delta.embedding_space, "trained_until": delta.trained_until,
        "sha256": hashlib.sha256(data.getbuffer()).hexdigest(),
    }
    with written_aside(path) as file:
        file.write(data.getbuffer())
    if seal is not None:
        _sign(folder, seal, [*before.deltas, about], before.signed + 1)
    for i, said in enumerate([*before.deltas, about], number - len(before.deltas)):
        described = folder / f"{i:06}.json"  # an earlier one lacks if the process was killed after it had signed
        if said is about or not described.exists():
            with written_aside(described) as file:
                file.write(json.dumps(said).encode())
    return path


def check_seal(root: str | Path, version: int, seal: Seal | None) -> None:
    """Raises `ExportError` if a version or its deltas are signed and there is no `seal` to sign the next ones."""
    _check_listed(_folder(root, version), seal)
    if seal is None:
        manifest.check_unsigned(Path(root) / str(version))


def _check_listed(folder: Path, seal: Seal | None) -> None:
    if seal is None and (folder / _SIGNED).exists():
        raise ExportError(f"The rows of users in {folder} are signed. Change them with the key: --sign-key FILE.")


class _Signed(NamedTuple):
    """The signed list of a version's deltas. signed: how often it was; a lower number is an earlier list."""

    deltas: list[dict[str, Any]] = []
    signed: int = 0


def _signed(folder: Path, seal: Seal) -> _Signed:
    """The list of a folder's deltas.

    Raises:
      ExportError: there are deltas that it lacks, or its signature is wrong, or of another version.
    """
    found = _listed(folder, seal)
    if more := _beyond(folder, found):
        key = seal.key.path
        raise ExportError(f"{more.with_suffix('.json')} is not signed. Take it back by `twotower update RUN --revert "
                          f"--sign-key {key}`, and publish the users' update again with --sign-key {key}.")
    return found


def _beyond(folder: Path, signed: _Signed) -> Path | None:
    """The newest delta, if the list lacks it."""
    newest = max(_numbers(folder), default=0)
    return folder / f"{newest:06}.npz" if newest > len(signed.deltas) else None


def _listed(folder: Path, seal: Seal) -> _Signed:
    """The list alone. Raises `ExportError` if its signature is wrong, or of another version."""
    path = folder / _SIGNED
    if not path.exists():
        return _Signed()
    try:
        about = json.loads(seal.key.read_signed(path, ROWS))
        found = _Signed(about["deltas"], about["signed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{path} cannot be read ({error}). Publish the users' update again.") from error
    if about["manifest"] != seal.identity:
        raise ExportError(f"{path} was signed for another version. Publish the users' update again.")
    return found


def _sign(folder: Path, seal: Seal, deltas: Sequence[dict[str, Any]], times: int) -> None:
    said = {"manifest": seal.identity, "deltas": deltas, "signed": times}
    seal.key.write_signed(folder / _SIGNED, ROWS, json.dumps(said).encode())


def read(
    root: str | Path, version: int, embedding_space: str | None, seal: Seal | None = None
) -> list[UserDelta]:
    """The deltas of a version, in order: a list of `UserDelta`. With a `seal`, only if that signed all of them.

    Raises:
      ExportError: a delta is damaged, missing or of another embedding space, or its signature is wrong; the message
        names it. No delta is returned then.
    """
    return read_counted(root, version, embedding_space, seal)[0]


def read_counted(
    root: str | Path, version: int, embedding_space: str | None, seal: Seal | None = None
) -> tuple[list[UserDelta], int]:
    """(what `read` gives, a number that grows with each change of signed deltas; 0 without a `seal`)."""
    folder = _folder(root, version)
    if seal is not None:
        said, count = _signed(folder, seal)
        return [_read(folder, i, embedding_space, about) for i, about in enumerate(said, 1)], count
    numbers = _numbers(folder)
    missing = next((i for i, number in enumerate(numbers, 1) if i != number), None)
    if missing is not None:
        raise ExportError(f"{folder}: delta {missing} is missing. Publish the users' update again.")
    return [_read(folder, number, embedding_space) for number in numbers], 0


def _read(folder: Path, number: int, embedding_space: str | None, about: dict[str, Any] | None = None) -> UserDelta:
    """A delta. about: what the signed list says of it; None: its JSON file says it."""
    path = folder / f"{number:06}.npz"
    try:
        about, data = about or json.loads(content(path.with_suffix(".json"))), content(path)
        if hashlib.sha256(data).hexdigest() != about["sha256"]:
            raise ExportError(f"{path} does not have the checksum that it was written with. Publish it again.")
        if about["embedding_space"] != embedding_space:
            raise ExportError(f"{path} is of another embedding space. Publish deltas for this version.")
        return UserDelta(
            embedding_space,  # type: ignore[arg-type]  # equal to the one in the delta's file
            int(about["trained_until"]), *(_array(data, name) for name in ("keys", "rows")),
        )
    except (*DAMAGED_NPZ, TypeError, RecursionError, struct.error) as error:
        raise ExportError(f"{path} cannot be read ({error}). Publish the users' update again.") from error


def _array(npz: bytes, name: str) -> np.ndarray:
    """An array of a file by `np.savez`: a view of its bytes. `np.load` would copy them twice, and sum them up again."""
    with zipfile.ZipFile(io.BytesIO(npz)) as members:
        place = members.getinfo(f"{name}.npy").header_offset + 26
    member = io.BytesIO(npz)  # shares the bytes
    member.seek(place + 4 + sum(struct.unpack("<HH", npz[place: place + 4])))  # the lengths of a name and of an extra
    np.lib.format.read_magic(member)
    shape, by_column, kind = np.lib.format.read_array_header_1_0(member)
    return np.frombuffer(npz, kind, math.prod(shape), member.tell()).reshape(shape, order="F" if by_column else "C")


def stamp(root: str | Path, version: int) -> tuple[tuple[str, int, int], ...]:
    """(name, modification time, inode) of what says the deltas. It changes when the deltas change."""
    folder = _folder(root, version)
    found = [(path, path.stat()) for path in sorted([*folder.glob("[0-9]*.json"), *folder.glob(_SIGNED)])]
    return tuple((path.name, stat.st_mtime_ns, stat.st_ino) for path, stat in found)


def merged(deltas: Sequence[UserDelta]) -> tuple[np.ndarray, np.ndarray]:
    """(keys int64 [n], rows float32 [n, dim]) of deltas in order. A user has the row of the last delta that has one."""
    keys = np.concatenate([delta.keys for delta in deltas])
    rows = np.concatenate([delta.rows for delta in deltas])
    distinct, last = np.unique(keys[::-1], return_index=True)
    return distinct, rows[::-1][last]


def withdraw(root: str | Path, version: int, seal: Seal | None = None) -> Path | None:
    """Takes back the newest delta of a version; returns its path, or None if there is none.

    seal: the `Seal` that signed the deltas, if not the newest; None: they are not signed.

    Raises:
      ExportError: they are signed and there is no `seal`, or it did not sign them.
    """
    folder = _folder(root, version)
    _check_listed(folder, seal)
    before = _Signed() if seal is None else _listed(folder, seal)
    unsigned = _beyond(folder, before)
    if not unsigned and not before.deltas:
        return None
    path = unsigned or folder / f"{len(before.deltas):06}.npz"
    path.with_suffix(".json").unlink(missing_ok=True)  # first: without it the `.npz` file does not count
    if seal is not None and not unsigned:
        _sign(folder, seal, before.deltas[:-1], before.signed + 1)
    path.unlink(missing_ok=True)
    return path


def clear(root: str | Path, version: int) -> None:
    """Removes all deltas of a version."""
    folder = _folder(root, version)
    if folder.is_dir():
        shutil.rmtree(folder)


def copy(root: str | Path, version: int, to: int, seals: tuple[Seal, Seal] | None = None) -> None:
    """Copies the deltas of `version` to the version `to`, which is not published yet: no server reads half a copy.

    seals: (the one that signed the deltas, the one that signs the copies); None: the copies are not signed.

    Raises:
      ExportError: the first seal did not sign the deltas.
    """
    source, target = (_folder(root, number) for number in (version, to))
    if not _numbers(source):
        return
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(_SIGNED))
    if seals is not None:
        _sign(target, seals[1], _signed(source, seals[0]).deltas, 1)
    for path in [*target.iterdir(), target, target.parent]:
        flush(path)


def _folder(root: str | Path, version: int) -> Path:
    return Path(root) / _FOLDER / str(version)


def _numbers(folder: Path) -> list[int]:
    """The numbers of the complete deltas, ascending."""
    return sorted(int(path.stem) for path in folder.glob("[0-9]*.json"))
