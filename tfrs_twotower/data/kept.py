"""An interaction log as files. A run keeps the log it was trained on, and reads it in place of its source."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tfrs_twotower.columns import QUERY
from tfrs_twotower.data.checking import IngestReport
from tfrs_twotower.data.log import InteractionLog
from tfrs_twotower.data.unchosen import Searched, Shown
from tfrs_twotower.durable import written_aside
from tfrs_twotower.errors import DataError

_REPORT = "report.json"  # written last: without it the log is not whole
_TABLES = ("context", "users", "items")
_EVENTS, _SHOWN = ("user", "item", "timestamp", "weight"), ("user", "item", "timestamp")
_SEARCHED, _OF_USERS = "searched", ("user", "timestamp")  # a file of searches is there only if there are any


def keep_log(log: InteractionLog, report: IngestReport, folder: str | os.PathLike[str]) -> None:
    """Writes a log and its report as Arrow files. They are not compressed, so that `read_log` can map them.

    Args:
      log, report: the result of `ingest`
      folder: made here
    """
    events = {"events": pa.table({name: getattr(log, name) for name in _EVENTS})}
    if log.part is not None:
        events["events"] = events["events"].append_column("part", pa.array(log.part))
    shown = {"shown": pa.table({name: getattr(log.shown, name) for name in _SHOWN})}
    if log.shown.dropped is not None:
        shown["shown"] = shown["shown"].append_column("dropped", pa.array(log.shown.dropped))
    alone = log.searched
    searched = {_SEARCHED: pa.table({name: getattr(alone, name) for name in (*_OF_USERS, QUERY)})} if len(alone) else {}
    tables = {**events, **shown, **searched, **{name: getattr(log, name) for name in _TABLES}}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        with written_aside(folder / f"{name}.arrow") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    with written_aside(folder / _REPORT) as file:
        file.write(json.dumps(dataclasses.asdict(report)).encode())


def empty_array(folder: Path | None, name: str, kind: npt.DTypeLike, n: int) -> np.ndarray:
    """An array [n] to be filled: in memory, or as a new file of the folder, so that it need not fit the memory."""
    if folder is None or not n:  # no file of 0 bytes can be mapped
        return np.empty(n, kind)
    return np.memmap(folder / name, kind, "w+", shape=(n,))


def has_log(folder: str | os.PathLike[str]) -> bool:
    """Whether `keep_log` wrote a log into the folder."""
    return (Path(folder) / _REPORT).is_file()


def read_log(folder: str | os.PathLike[str]) -> tuple[InteractionLog, IngestReport]:
    """The log and report that `keep_log` wrote. The log's arrays are maps of the files: they can be read, not changed.

    Raises:
      DataError: a file is missing or damaged.
    """
    folder = Path(folder)
    try:
        found = {name: _read(folder / f"{name}.arrow") for name in ("events", "shown", *_TABLES)}
        report = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
        arrays = {name: _array(found["events"], name) for name in found["events"].column_names}
        left = found["shown"]["dropped"].to_numpy() if "dropped" in found["shown"].column_names else None
        shown = Shown(**{name: _array(found["shown"], name) for name in _SHOWN}, dropped=left)
        log = InteractionLog(
            **arrays, **{name: found[name] for name in _TABLES}, shown=shown, searched=_searched(folder)
        )
        return log, IngestReport(**{**report, "notes": tuple(report["notes"])})
    except (OSError, ValueError, TypeError, KeyError) as error:  # Arrow's errors are among these
        raise DataError(
            f"The log in {folder} cannot be read ({error}). If the run has a source, remove this folder: the source is "
            "then read. Else pass the data frames again."
        ) from error


def _searched(folder: Path) -> Searched:
    path = folder / f"{_SEARCHED}.arrow"
    if not path.exists():
        return Searched.none()
    found = _read(path)
    user, timestamp = (_array(found, name) for name in _OF_USERS)
    return Searched(user, timestamp, pa.concat_arrays(found[QUERY].chunks))


def _read(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        table = reader.read_all()
    table.validate(full=True)
    return table


def _array(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy()  # of one chunk, so nothing is copied
