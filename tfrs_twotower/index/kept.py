"""An index that no SavedModel can hold, kept in its own folder with the checksum of its vectors."""

import dataclasses
import json
import logging
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrs_twotower.configuration import from_dict, to_dict
from tfrs_twotower.durable import checksum, flush
from tfrs_twotower.errors import IndexingError
from tfrs_twotower.index import checks
from tfrs_twotower.index.candidate_index import CandidateIndex
from tfrs_twotower.index.config import IndexConfig
from tfrs_twotower.index.kind import IndexKind
from tfrs_twotower.index.tuning import IndexReport

_log = logging.getLogger(__name__)
_RECORD = "kept.json"


def keep(
    folder: Path, kind: IndexKind, index: CandidateIndex, report: IndexReport, config: IndexConfig, vectors: np.ndarray
) -> None:
    """Writes an index of `vectors` in place of the folder's contents; the record is written last."""
    remove(folder)
    folder.mkdir(parents=True)
    kind.save(index, folder)
    record = {"config": to_dict(config), "kind": to_dict(kind), "report": dataclasses.asdict(report),
              "vectors": checks.checksum(vectors), "files": _checksums(folder)}
    (folder / _RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")
    for path in (*folder.rglob("*"), folder):
        flush(path)


def kept(folder: Path, vectors: np.ndarray) -> tuple[IndexConfig, CandidateIndex, IndexReport] | None:
    """The (configuration, index, report) that `keep` wrote; None if there is none, or it is of other vectors.

    Raises:
      ConfigError: its kind cannot be imported. IndexingError: a file is damaged, or its server does not have it.
    """
    record = _read(folder)
    if record is None:
        return None
    if record.vectors != checks.checksum(vectors):
        _log.warning("The index in %s is of other vectors. Build it again by `twotower index`.", folder)
        return None
    if record.files is not None and record.files != (found := _checksums(folder)):
        damaged = sorted(name for name in {*record.files, *found} if record.files.get(name) != found.get(name))
        raise IndexingError(
            f"{folder / damaged[0]} does not have the checksum that it was written with. Remove the folder {folder}, "
            "and build the index again by `twotower index`."
        )
    return record.config, record.kind.load(folder), record.report


def _checksums(folder: Path) -> dict[str, str]:
    """{name: SHA-256} of the files of an index, without the record."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != _RECORD]
    return {str(path.relative_to(folder)): checksum(path) for path in files}


def kept_config(folder: Path) -> IndexConfig | None:
    """The configuration of the index that `keep` wrote; None if there is none, or it cannot be read.

    Raises:
      ConfigError: its kind cannot be imported.
    """
    record = _read(folder)
    return None if record is None else record.config


class _Record(NamedTuple):
    config: IndexConfig
    kind: IndexKind
    report: IndexReport
    vectors: str  # the checksum
    files: dict[str, str] | None  # their checksums; None in a record of an earlier version


def _read(folder: Path) -> _Record | None:
    path = folder / _RECORD
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        report = IndexReport(**record["report"])
        return _Record(from_dict(record["config"]), from_dict(record["kind"]), report, record["vectors"],
                       record.get("files"))
    except (ValueError, KeyError, TypeError) as error:
        _log.warning("%s cannot be read (%s). Build the index again by `twotower index`.", path, error)
        return None


def remove(folder: Path) -> None:
    """Removes the files of `keep`."""
    shutil.rmtree(folder, ignore_errors=True)
