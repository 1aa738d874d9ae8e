"""`manifest.json`: the description of an export, the recall of its index, and the checksums of its files."""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrs_twotower.durable import checksum, content
from tfrs_twotower.errors import ExportError
from tfrs_twotower.exporting.signing import Key, signature

MANIFEST = "manifest.json"
SIGNATURE = signature(Path(MANIFEST)).name
FORMAT = 1
_PACKAGES = ("tfrs_twotower", "tensorflow", "tf-keras", "tensorflow-recommenders", "scann", "numpy")


def versions() -> dict[str, str]:
    """{package: version} of the packages that make a run or an export."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write(directory: str | Path, fields: Mapping[str, Any], files: Mapping[str, str] | None = None) -> None:
    """Writes the manifest of an export: `fields`, the format number, and the checksums of all its files.

    Args:
      files: {path: checksum}, if the checksums are known; None: each file is read.
    """
    directory = Path(directory)
    if files is None:
        files = {
            str(p.relative_to(directory)): checksum(p)
            for p in sorted(directory.rglob("*"))
            if p.is_file() and p.name not in (MANIFEST, SIGNATURE)
        }
    text = json.dumps({"format": FORMAT, **fields, "files": files}, indent=2, sort_keys=True, allow_nan=False)
    (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read(directory: str | Path, key: Key | None = None) -> dict[str, Any]:
    """The manifest of an export; with a `key`, only if that signed it.

    Raises:
      ExportError: there is no manifest, its format is not one that this version reads, or its signature is wrong.
    """
    return identified(directory, key)[0]


def identified(directory: str | Path, key: Key | None = None) -> tuple[dict[str, Any], str]:
    """(the manifest of an export, its checksum). See `read`."""
    path = Path(directory) / MANIFEST
    try:
        said = content(path)
        if key is not None:
            key.verify(path, said)
        manifest = json.loads(said)
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"{path} cannot be read ({error}). Name a version's folder, as `twotower export` wrote it.")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ExportError(f"{path} is not a manifest of format {FORMAT}. Export again with this version.")
    return manifest, hashlib.sha256(said).hexdigest()


def check_unsigned(directory: Path) -> None:
    """Raises `ExportError` if a version is signed: then what follows it, and new rows of its users, must be signed.

    Servers that verify would refuse all else, and go on with what they have: who publishes would not learn of it.
    """
    signed = directory / SIGNATURE
    if signed.exists():
        raise ExportError(
            f"{directory} is signed, and what follows it must be: servers with --verify-key refuse all else. Name the "
            f"key by --sign-key FILE. If no server verifies any more, remove {signed}."
        )
