"""A prepared dataset: a kept log (`kept`) in a folder with a manifest, which is written last.

FOLDER/manifest.json names the folder of the log, FOLDER/1/ at first. Events that are appended make FOLDER/2/; once the
manifest names it, the earlier one is removed. So a reader finds a whole dataset at any moment.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_twotower.columns import ITEM_ID, USER_ID
from tfrs_twotower.configuration import from_dict, to_dict
from tfrs_twotower.data.checking import IngestReport, Rules
from tfrs_twotower.data.kept import read_log
from tfrs_twotower.data.log import InteractionLog
from tfrs_twotower.data.source import Source
from tfrs_twotower.durable import checksum, content, flush, written_aside
from tfrs_twotower.errors import ConfigError, DataError

MANIFEST = "manifest.json"
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a prepared dataset says of itself.

    Attributes:
      format: of the folder; made_by: the version of this package
      log: the name of the log's folder
      fingerprint: `InteractionLog.fingerprint`
      files: {name in the log's folder: {"bytes", "sha256"}}
      sources: what was read, the oldest first: {"name", "source" (its configuration, or null), "rules", "rows",
        "accepted", "rejected" ({reason: rows})}
      statistics: counts of events, shown, users and items; the first and last time; per user and item with events the
        least, the median and the most events; the missing values of each column
    """

    format: int
    made_by: str
    log: str
    fingerprint: str
    files: dict[str, dict[str, Any]]
    sources: list[dict[str, Any]]
    statistics: dict[str, Any]

    def source(self, number: int) -> Source | None:
        """One of the sources; None if it was no configuration, but for example data frames."""
        found: Source | None = from_dict(self.sources[number]["source"])
        return found


def is_prepared(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a prepared dataset."""
    return (Path(folder) / MANIFEST).is_file()


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """The manifest of a prepared dataset.

    Raises:
      DataError: there is none, or it is damaged, or of a newer version.
    """
    path = Path(folder) / MANIFEST
    try:
        said = json.loads(content(path))
        if said["format"] > FORMAT:
            raise DataError(f"{path} has the format {said['format']}, which is newer than {FORMAT}. Install the "
                            f"version of tfrs_twotower that wrote it ({said['made_by']}), or prepare it again.")
        manifest = Manifest(**said)
        Rules(**manifest.sources[-1]["rules"])
        if not (manifest.log.isdecimal() and isinstance(manifest.files, dict)):
            raise ValueError(f"the log is in {manifest.log!r}, its files are {manifest.files!r:.40}")
        return manifest
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{folder} is no prepared dataset: {path} is not there. `twotower prepare {folder}` makes "
                        "one.") from error
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(f"{path} cannot be read ({error}). If it is damaged, remove {folder} and prepare the dataset "
                        "again.") from error


def read_dataset(folder: str | os.PathLike[str]) -> tuple[InteractionLog, IngestReport]:
    """The log and the report of a prepared dataset, once the checksums of its files are right. The log is mapped.

    If events are appended meanwhile, which removes the files, the new ones are read.

    Raises:
      DataError: it is no dataset, or it is damaged.
    """
    return mapped_dataset(folder, check=True)


def mapped_dataset(
    folder: str | os.PathLike[str], check: bool = False
) -> tuple[InteractionLog, IngestReport]:
    """As `read_dataset`; `check`: whether the checksums are compared."""
    folder, manifest = Path(folder), read_manifest(folder)
    try:
        if check:
            _check(folder, manifest)
        return read_log(folder / manifest.log)
    except (DataError, OSError):
        if read_manifest(folder).log == manifest.log:
            raise
    return mapped_dataset(folder, check)


def _check(folder: Path, manifest: Manifest) -> None:
    for name, said in manifest.files.items():
        path = folder / manifest.log / name
        if not path.is_file() or path.stat().st_size != said["bytes"] or checksum(path) != said["sha256"]:
            raise DataError(f"{path} is damaged: it does not have the checksum of {folder / MANIFEST}. Prepare the "
                            "dataset again.")


def write_manifest(
    folder: Path, log_name: str, log: InteractionLog, report: IngestReport, source: Source, rules: Rules,
    earlier: list[dict[str, Any]],
) -> None:
    """Makes the log in FOLDER/log_name the dataset. `earlier`: the sources before this one."""
    try:
        configuration = to_dict(source)
    except ConfigError:
        configuration = None
    read = {"name": source.name, "source": configuration, "rules": dataclasses.asdict(rules), "rows": report.rows,
            "accepted": report.accepted, "rejected": report.rejected}
    for path in (folder / log_name).iterdir():
        flush(path)
    files = {path.name: {"bytes": path.stat().st_size, "sha256": checksum(path)}
             for path in sorted((folder / log_name).iterdir())}
    version = importlib.metadata.version("tfrs_twotower")
    manifest = Manifest(FORMAT, version, log_name, log.fingerprint(), files, [*earlier, read], _statistics(log))
    with written_aside(folder / MANIFEST) as file:
        file.write(json.dumps(vars(manifest), indent=1, ensure_ascii=False).encode())


def _statistics(log: InteractionLog) -> dict[str, Any]:
    tables = {"events": log.context, "users": log.users, "items": log.items}
    times = {"first": int(log.timestamp[0]), "last": int(log.timestamp[-1])} if log.timed and len(log) else {}
    return {
        "events": len(log), "shown": len(log.shown), "users": len(log.users), "items": len(log.items), **times,
        "events_per_user": _spread(log.user), "events_per_item": _spread(log.item),
        "missing": {what: {name: table[name].null_count for name in table.column_names
                           if name not in (USER_ID, ITEM_ID)} for what, table in tables.items()},
    }


def _spread(rows: np.ndarray) -> dict[str, float]:
    counts = np.bincount(rows)
    counts = counts[counts > 0]
    return {"least": int(counts.min()), "median": float(np.median(counts)), "most": int(counts.max())}
