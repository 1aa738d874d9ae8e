"""Collects the events of a store and the answers of its servers in a folder of Parquet files, each row once."""

import collections
import contextlib
import dataclasses
import itertools
import json
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfrs_twotower import columns as c
from tfrs_twotower.data import Columns
from tfrs_twotower.durable import lock, written_aside
from tfrs_twotower.errors import ConfigError, DataError, invalid
from tfrs_twotower.online.claims import CLAIMS
from tfrs_twotower.online.feedback import WITHIN, feedback
from tfrs_twotower.online.history_store import HistoryStore
from tfrs_twotower.online.store_source import LATE
from tfrs_twotower.online.training_rows import PARTS, Shape, numbers, texts

_MANIFEST, _LOCK = "_collected.json", "_lock"  # readers of folders skip names with _
_ASIDE = "_aside"
_FORMAT = 1
_KEY = [c.USER_ID, c.EVENT_ID]


@dataclasses.dataclass(frozen=True)
class Collected:
    """What a call added.

    Attributes:
      since, until: the times that it read, in seconds since 1970.
      chosen, others: rows with the label 1, and with 0.
      file: the path of the new file, or None.
      aside: {reason: the number of events and impressions whose word about an answer does not count}. They are in
        `_aside/` of the folder, in files of `claims.CLAIMS`.
    """

    since: int
    until: int
    chosen: int
    others: int
    file: str | None
    aside: dict[str, int] = dataclasses.field(default_factory=dict)


def collect(
    history: HistoryStore, logs: Sequence[str], folder: str, since: int | None = None, until: int | None = None,
    within: int = WITHIN, context: Sequence[str] = (), text_ids: bool = False,
) -> Collected:
    """Adds the rows of `feedback` that a folder lacks, as one file, which is there whole or not at all.

    So calls may read a time twice, and may be killed at any moment. A row is known by its user and event id. What
    clients said of answers and cannot be true is put aside, once.

    Args:
      history: a `HistoryStore`.
      logs: folders of answer logs.
      folder: it is made if it is missing.
      since: seconds since 1970; None: a day before the end of the last call, or all.
      until: None: now.
      within: seconds after an answer in which an event counts as its choice.
      context: features as served that become columns.
      text_ids: ids are text, even if all of them are whole numbers.

    Raises:
      ConfigError: the folder was made with other settings, another process writes there or the system refuses it, or
        `since` is after `until`.
      DataError: an id is of another type than the first ones were.
      StoreError: the store or a log cannot be read.
    """
    path = Path(folder)
    with _locked(path):
        until = int(time.time()) if until is None else until
        manifest = _manifest(path, within, context)
        since = max(manifest.get("until", 0) - LATE, 0) if since is None else since
        if since > until:
            raise ConfigError(invalid("since", f"not be after `until`, {until}", since, "Name an earlier time."))
        if "numbers" not in manifest or not any(path.glob("*.parquet")):  # the first rows settle it
            manifest["numbers"] = [] if text_ids else numbers(history, 0, until)
            manifest["texts"] = texts(logs, context)
            _write(path, manifest)
        shape = Shape(tuple(manifest["numbers"]), tuple(context), tuple(manifest["texts"]))
        known, claims = _keys(path, since - within), list[pa.Table]()
        tables = (shape.rows(table) for table in feedback(history, logs, since, until, within, aside=claims.append))
        file, liked, rows = _write_rows(path, until, (_fresh(table, known) for table in tables))
        aside = _put_aside(path / _ASIDE, until, claims)
        _write(path, {**manifest, "until": max(until, manifest.get("until", 0))})
    return Collected(since, until, liked, rows - liked, file, aside)


def is_collected(folder: str) -> bool:
    """Is it a folder that `collect` writes?"""
    return (Path(folder) / _MANIFEST).is_file()


def collected_columns(folder: str) -> Columns:
    """The `Columns` of the files of a folder that `collect` wrote."""
    served = _read(Path(folder)).get("context", ())
    return Columns(event=c.EVENT, label=c.LABEL, context=(*PARTS, *served))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        held = lock(folder, _LOCK)
    except BlockingIOError as error:
        raise ConfigError(f"Another process collects into {folder}. Wait, or name another folder.") from error
    except OSError as error:
        raise ConfigError(f"The folder {folder} cannot be written: {error}. Name another one with --out.") from error
    with held:
        for left in (*folder.glob("*.writing"), *(folder / _ASIDE).glob("*.writing")):  # of a process that was killed
            left.unlink()
        yield


def _manifest(folder: Path, within: int, context: Sequence[str]) -> dict[str, Any]:
    """What is known of the folder. Raises `ConfigError` if it was made with other settings."""
    asked = {"format": _FORMAT, "within": within, "context": list(context)}
    found = _read(folder) if is_collected(str(folder)) else asked
    for name, value in asked.items():
        if found.get(name) != value:
            way_out = "Name another folder, or leave the setting as it was."
            raise ConfigError(invalid(name, f"be {found.get(name)!r}, as {folder} was made", value, way_out))
    return dict(found)


def _read(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / _MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / _MANIFEST} cannot be read: {error}. Collect into a new folder.") from error


def _write(folder: Path, manifest: dict[str, Any]) -> None:
    with written_aside(folder / _MANIFEST) as file:
        file.write(json.dumps(manifest, indent=2).encode())


def _keys(folder: Path, since: int) -> pa.Array:
    """The keys of the rows of that time and later."""
    found = [
        _key(pq.read_table(file, columns=_KEY, filters=[(c.TIMESTAMP, ">=", since)]))
        for file in folder.glob("*.parquet")
    ]
    return pa.concat_arrays(found) if found else pa.array([], pa.large_string())


def _key(table: pa.Table) -> pa.Array:
    user, event = (table[name].cast(pa.large_string()) for name in _KEY)
    return pc.binary_join_element_wise(user, event, pa.scalar("\0", pa.large_string())).combine_chunks()


def _fresh(table: pa.Table, known: pa.Array) -> pa.Table:
    """The rows that are not known."""
    return table.filter(pc.invert(pc.is_in(_key(table), known)))


def _write_rows(folder: Path, until: int, tables: Iterator[pa.Table]) -> tuple[str | None, int, int]:
    """Writes a file of the tables with rows. Returns (its path or None, the rows with the label 1, all rows)."""
    path, liked, total = _new_file(folder, until), 0, 0
    rows = (table for table in tables if len(table))
    first = next(rows, None)
    if first is None:
        return None, 0, 0
    with written_aside(path) as aside, pq.ParquetWriter(aside, first.schema, compression="zstd") as writer:
        for table in itertools.chain([first], rows):
            writer.write_table(table)
            liked, total = liked + pc.sum(table[c.LABEL]).as_py(), total + len(table)
    return str(path), liked, total


def _put_aside(folder: Path, until: int, claims: Sequence[pa.Table]) -> dict[str, int]:
    """Writes a file of the claims that the folder lacks. Returns their number by reason."""
    said = pa.concat_tables([CLAIMS.empty_table(), *claims])
    key = ["what", c.USER_ID, "id"]
    found = [pq.read_table(file, columns=key) for file in folder.glob("*.parquet")]
    known = set(zip(*pa.concat_tables(found).to_pydict().values())) if found else set()
    rows = zip(*said.select(key).to_pydict().values())
    fresh = said.filter(pa.array([row not in known for row in rows], pa.bool_()))
    if not len(fresh):
        return {}
    folder.mkdir(exist_ok=True)
    with written_aside(_new_file(folder, until)) as aside:
        pq.write_table(fresh, aside, compression="zstd")
    return dict(collections.Counter(fresh["reason"].to_pylist()))


def _new_file(folder: Path, until: int) -> Path:
    return folder / f"{time.strftime('%Y-%m-%dT%H%M%S', time.gmtime(until))}-{secrets.token_hex(4)}.parquet"
