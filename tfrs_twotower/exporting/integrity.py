"""Checks that a version directory is whole. The manifest lists the checksum of every file that will be loaded."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tfrs_twotower.durable import checksum
from tfrs_twotower.errors import ExportError, invalid
from tfrs_twotower.exporting import manifest
from tfrs_twotower.exporting.signing import Key

SAVED_MODEL = "saved_model.pb"
_LOADED = (SAVED_MODEL, "variables" + os.sep, "assets" + os.sep)  # the files that TensorFlow reads


def check(
    directory: str | Path, key: Key | None = None, version: int | None = None,
    needed: Callable[[str], bool] = lambda file: True, model: str | None = None,
) -> dict[str, Any]:
    """Reads the manifest of `directory` and compares every file that is `needed` with its sha256.

    Args:
      directory: of a version.
      key: the `Key` that has to have signed the manifest; None: no signature is needed.
      version: with a key: the number that the signed manifest must have.
      model: with a key: the model's name that the signed manifest must have; None: any.

    Returns:
      The manifest, a dict.

    Raises:
      ExportError: the manifest is missing or unreadable, a file is missing, differs or lies outside the directory,
        a file that TensorFlow would read is not listed, or there is a pipe or a device. With a key: the signature, the
        number or the name is wrong.
    """
    contents = manifest.read(directory, key)
    if key is not None and contents.get("version") != version:
        rule, way_out = f"be that of the folder, {version}", "Publish it under its number."
        raise ExportError(invalid("version", rule, contents.get("version"), way_out))
    if key is not None and model is not None and contents.get("model") != model:
        way_out = "The key signed it for another model. If that is the one to serve, name it: serve --name."
        raise ExportError(invalid("model", f"be {model!r}", contents.get("model"), way_out))
    files = contents.get("files")
    if not isinstance(files, dict):
        raise ExportError(f"{manifest.MANIFEST} has no checksums under `files`. Export again.")
    inside = os.path.realpath(directory) + os.sep
    for name, expected in files.items():
        if not needed(name):
            continue
        path = os.path.realpath(os.path.join(directory, name))
        if not path.startswith(inside):
            raise ExportError(f"{name!r} is listed in {manifest.MANIFEST} and lies outside its directory.")
        if not os.path.isfile(path):
            raise ExportError(f"{name} is listed in {manifest.MANIFEST} and missing.")
        if checksum(path) != expected:
            raise ExportError(f"{name} does not have the checksum that {manifest.MANIFEST} states.")
    for name in _walk(directory):
        if name.startswith(_LOADED) and name not in files:
            raise ExportError(f"{name} is not listed in {manifest.MANIFEST}.")
        path = os.path.join(directory, name)
        if os.path.exists(path) and not os.path.isfile(path):  # to open it could take for ever
            raise ExportError(f"{name} is no regular file. Remove it.")
    return contents


@contextlib.contextmanager
def checked(
    directory: str, version: int, key: Key | None = None, needed: Callable[[str], bool] = lambda file: True,
    model: str | None = None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (the folder to load a version from, its manifest).

    Without a key it is the checked folder itself. With a key it is a temporary copy of the `needed` files that the
    signed manifest lists. They are checked after they were copied: who can write to `directory` could change it between
    the check and the load.

    Raises:
      ExportError: as in `check`, or the files cannot be copied.
    """
    if key is None:
        yield directory, check(directory, needed=needed)
        return
    names = [manifest.MANIFEST, manifest.SIGNATURE, *filter(needed, manifest.read(directory, key)["files"])]
    with tempfile.TemporaryDirectory(prefix="twotower-") as copy:  # no other user can read it
        try:
            for name in names:
                os.makedirs(os.path.dirname(os.path.join(copy, name)), exist_ok=True)
                if os.path.isfile(os.path.join(directory, name)):  # no pipe or device, which has no end
                    shutil.copyfile(os.path.join(directory, name), os.path.join(copy, name))
        except OSError as error:
            raise ExportError(
                f"{directory} cannot be copied to be verified ({error}). Make room in {copy}, or let TMPDIR name "
                "another folder."
            ) from error
        yield copy, check(copy, key, version, needed, model)


def identity(directory: str | Path) -> str | None:
    """The checksum of the manifest, which lists the checksums of all other files; None if there is no manifest."""
    try:
        return checksum(os.path.join(directory, manifest.MANIFEST))
    except OSError:
        return None


def fingerprint(directory: str | Path) -> tuple[tuple[str, int, int], ...]:
    """Path, size and modification time of every file. The result changes when a file of the directory changes."""
    entries = []
    for name in _walk(directory):
        try:
            stat = os.stat(os.path.join(directory, name))
        except FileNotFoundError:
            continue
        entries.append((name, stat.st_size, stat.st_mtime_ns))
    return tuple(entries)


def _walk(directory: str | Path) -> list[str]:
    return sorted(
        os.path.relpath(os.path.join(folder, name), directory)
        for folder, _, names in os.walk(directory)
        for name in names
    )
