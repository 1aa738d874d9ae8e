"""Checks that a version directory is whole. The manifest lists the checksum of every file that will be loaded."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfrs_twotower.errors import ExportError
from tfrs_twotower.exporting import manifest

SAVED_MODEL = "saved_model.pb"
_LOADED = (SAVED_MODEL, "variables" + os.sep, "assets" + os.sep)  # the files that TensorFlow reads


def check(directory: str | Path, needed: Callable[[str], bool] = lambda file: True) -> dict[str, Any]:
    """Reads the manifest of `directory` and compares every file that is `needed` with its sha256.

    Returns:
      The manifest, a dict.

    Raises:
      ExportError: the manifest is missing or unreadable, a file is missing, differs or lies outside the directory,
        or a file that TensorFlow would read is not listed.
    """
    contents = manifest.read(directory)
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
        if manifest.checksum(path) != expected:
            raise ExportError(f"{name} does not have the checksum that {manifest.MANIFEST} states.")
    for name in _walk(directory):
        if name.startswith(_LOADED) and name not in files:
            raise ExportError(f"{name} is not listed in {manifest.MANIFEST}.")
    return contents


def identity(directory: str | Path) -> str | None:
    """The checksum of the manifest, which lists the checksums of all other files; None if there is no manifest."""
    try:
        return manifest.checksum(os.path.join(directory, manifest.MANIFEST))
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
