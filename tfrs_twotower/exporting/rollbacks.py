"""What manifests say of versions that were made to serve again."""

from pathlib import Path
from typing import Any

from tfrs_twotower.errors import ExportError
from tfrs_twotower.exporting import manifest
from tfrs_twotower.exporting.publishing import versions_under

RECORD = "rollback"  # the manifest's field: {"copy_of", "replaced", "at"}; numbers are those of first publication


def manifests(root: str | Path) -> dict[int, dict[str, Any]]:
    """{version: manifest} of the versions under `root`, ascending, whose manifest can be read."""
    found = {}
    for version in versions_under(root):
        try:
            found[version] = manifest.read(Path(root) / str(version))
        except ExportError:
            continue
    return found


def rollbacks(root: str | Path) -> list[dict[str, Any]]:
    """The rollbacks under `root`, the oldest first.

    Each is a dict: version, its number; copy_of, the version whose files it has; replaced, the version that served
    before; at, the time, as ISO 8601 in UTC.
    """
    return [{"version": version, **contents[RECORD]} for version, contents in manifests(root).items()
            if RECORD in contents]
