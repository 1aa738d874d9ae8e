"""The durable item events: the last event of each changed item, in one SQLite file."""

import json
import os
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from tfrs_twotower import columns as c
from tfrs_twotower.durable import content, flush, lock
from tfrs_twotower.errors import DataError
from tfrs_twotower.freshness import old_log
from tfrs_twotower.online import SqliteFile, StoreError, StoreUnavailable
from tfrs_twotower.online.sqlite_wal import check

_FILE, _TAKEN = "items.db", ".taken-over"
_SCHEMA = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    # `place` grows with each event: the item changed last comes last. An id is text or a number, as in the model.
    "CREATE TABLE items (place INTEGER PRIMARY KEY, item_id NOT NULL UNIQUE, features TEXT, crc INTEGER NOT NULL)",
)
_PUT = "INSERT OR REPLACE INTO items (place, item_id, features, crc) VALUES (?, ?, ?, ?)"
_ALL = "SELECT place, item_id, features, crc FROM items ORDER BY place"


class ItemEvents:
    """The changes of items since an export: {item id: its features, or None if the item is withdrawn}.

    The events of a call of `write` are on the disk when it returns, all of them. They survive a kill and a power
    failure. SQLite drops the torn end of a transaction that did not return. Any other damage is an error when the
    folder is opened.

    Args:
      folder: created if it is missing. One process at a time has it open. It holds `items.db`. Files of version 0.2.0
        in the folder are read into `items.db` and get names that end in `.taken-over`.
      id_type: str or int, the type of the item ids.
      or_copy: False raises `StoreUnavailable` on a full or read-only disk.

    If the disk is full or read-only, `items.db` is read from a temporary copy, so that withdrawn items stay withdrawn.
    `write` and `check` then try to open the folder again, and raise `StoreUnavailable` if that fails.

    Raises:
      StoreError: another process has the folder open, its ids have another type, a file is damaged, or the system
        refuses and there is no `items.db`, or no room for its copy.
    """

    _lock: TextIO | None = None
    _file: SqliteFile | None = None
    _copied: dict[str | int, dict[str, Any] | None] | None = None  # the events while the folder cannot be opened

    def __init__(self, folder: str | os.PathLike[str], id_type: type[str] | type[int], or_copy: bool = True) -> None:
        self.folder, self._ids = Path(folder), id_type
        try:
            self._last = self._open()
        except StoreUnavailable as error:
            if not (or_copy and (self.folder / _FILE).is_file()):
                raise
            self._copied, self._last = self._from_copy(error)

    def read(self) -> dict[str | int, dict[str, Any] | None]:
        """All events, with the item changed last at the end. Raises `StoreError` if an event is damaged."""
        if self._copied is not None:
            return dict(self._copied)
        file = self._is_open()
        latest: dict[str | int, dict[str, Any] | None] = {}
        for place, item, features, crc in self._read(_ALL, file):
            if crc != _crc(place, item, features) or not isinstance(item, self._ids):
                raise self._damage(f"the event of item {item!r} does not fit its checksum")
            latest[item] = None if features is None else {c.ITEM_ID: item, **json.loads(features)}
        return latest

    def write(self, latest: Mapping[str | int, dict[str, Any] | None]) -> None:
        """Keeps the changes of some items, either all of them or none.

        Raises:
          DataError: features cannot be written as JSON.
          StoreError: the disk refuses.
        """
        rows = _rows(latest, self._last + 1)
        self._reopen()
        with self._is_open().transaction() as connection:
            connection.executemany(_PUT, rows)
        self._last += len(rows)

    def check(self) -> None:
        """Raises `StoreError` if the disk takes no events: writes what is there already."""
        self._reopen()
        with self._is_open().transaction() as connection:
            connection.execute("UPDATE about SET value = value")

    def close(self) -> None:
        """Closes the folder, so that another process can open it. No event is lost without this call."""
        if self._file is not None:
            self._file.close()
        if self._lock is not None:
            self._lock.close()
        self._file = self._lock = self._copied = None

    def _open(self) -> int:
        """Locks and opens the folder; returns the place of the last event."""
        try:
            self._lock = lock(self.folder)
        except BlockingIOError as error:
            raise StoreError(f"{self.folder} is open in another process or object. Close it there.") from error
        except OSError as error:
            raise StoreUnavailable(f"{self.folder} cannot be written ({error}). Name another folder.") from error
        copied = self._copied
        try:
            self._file = self._opened()
            return self._read("SELECT coalesce(max(place), 0) FROM items", self._file)[0][0]
        except OSError as error:
            self.close()
            raise StoreUnavailable(f"{self.folder} cannot be used ({error}). Name another folder.") from error
        except BaseException:
            self.close()
            raise
        finally:
            self._copied = copied

    def _reopen(self) -> None:
        if self._copied is None:
            return
        last = self._open()
        if last != self._last:
            self.close()
            raise StoreError(f"Another process wrote to {self.folder} meanwhile. Start the server again.")
        self._copied = None

    def _from_copy(self, reason: StoreError) -> tuple[dict[str | int, dict[str, Any] | None], int]:
        """(the events, the place of the last one) of a copy of the file, with its -wal."""
        try:
            with tempfile.TemporaryDirectory(prefix="twotower-") as folder:
                for path in (self.folder / _FILE, self.folder / f"{_FILE}-wal"):
                    if path.exists():
                        shutil.copyfile(path, Path(folder) / path.name)
                copy = ItemEvents(folder, self._ids, or_copy=False)
                try:
                    return copy.read(), copy._last
                finally:
                    copy.close()
        except StoreUnavailable:  # it is not the disk
            raise reason from None
        except OSError as error:
            raise StoreError(f"{reason} It cannot be read from a copy either ({error}). Make room, or let TMPDIR name "
                             "another folder.") from error

    def _is_open(self) -> SqliteFile:
        if self._file is None:
            raise StoreError(f"{self.folder} was closed. Make a new object on it.")
        return self._file

    def _opened(self) -> SqliteFile:
        path = self.folder / _FILE
        if not path.exists():
            self._make(path)
        check(path)
        try:
            file = SqliteFile(path)
        except StoreError as error:
            reason = error.__cause__  # a locked file, or one of another format, is whole
            if isinstance(reason, sqlite3.DatabaseError) and not isinstance(reason, sqlite3.OperationalError):
                raise self._damage(str(error)) from error
            raise
        try:
            self._check(file)
        except BaseException:
            file.close()
            raise
        return file

    def _make(self, path: Path) -> None:
        """Writes a temporary file with the events of version 0.2.0's files, and renames it: it appears whole or not."""
        aside = Path(f"{path}.writing")
        if Path(f"{path}-wal").exists():
            raise self._damage("it is missing, and its -wal holds the newest events")
        for left in self.folder.glob(f"{aside.name}*"):
            left.unlink()
        latest = old_log.read(self.folder, self._ids)
        taken = {old.name: _checksum(old) for old in old_log.files(self.folder)}
        file = SqliteFile(aside)
        try:
            with file.transaction() as connection:
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.executemany("INSERT INTO about VALUES (?, ?)", {**self._about(), **taken}.items())
                connection.executemany(_PUT, _rows(latest, 1))
        finally:
            file.close()
        if Path(f"{aside}-wal").exists():  # SQLite removes it when the file itself holds all transactions
            raise StoreError(f"{aside} cannot be written. Is the disk full?")
        flush(aside)
        os.rename(aside, path)
        flush(self.folder)

    def _check(self, file: SqliteFile) -> None:
        problem = self._read("PRAGMA integrity_check(1)", file)[0][0]
        if problem != "ok":
            raise self._damage(problem)
        about, wanted = dict(self._read("SELECT name, value FROM about", file)), self._about()
        found = {name: about.get(name) for name in wanted}
        if found != wanted:
            raise StoreError(
                f"{file.path} holds {found}; it must hold {wanted} to be opened here. Name another folder, or open "
                "this one for the model that it was made for."
            )
        for old in old_log.files(self.folder):
            if about.get(old.name) != _checksum(old):
                raise StoreError(
                    f"{old} was written by version 0.2.0 after {_FILE} was made, which does not hold it. Move one of "
                    "them to another folder: the one that stays is used."
                )
            os.rename(old, f"{old}{_TAKEN}")

    def _read(self, query: str, file: SqliteFile) -> list[tuple[Any, ...]]:
        try:
            return file.read(query, [()])[0]
        except StoreError as error:
            raise self._damage(str(error)) from error

    def _about(self) -> dict[str, str]:
        return {"holds": "item events", "ids": self._ids.__name__}

    def _damage(self, what: str) -> StoreError:
        return StoreError(
            f"{self.folder / _FILE} is damaged: {what}. Restore it from a copy, or remove the folder and send the "
            "items again."
        )


def _rows(latest: Mapping[str | int, dict[str, Any] | None], place: int) -> list[tuple[Any, ...]]:
    try:
        features = [
            None if of is None else json.dumps({n: v for n, v in of.items() if n != c.ITEM_ID}, allow_nan=False)
            for of in latest.values()
        ]
    except (TypeError, ValueError) as error:
        raise DataError(f"An item event must be JSON ({error}). Send text, numbers, lists or null.") from error
    return [(at, item, of, _crc(at, item, of)) for at, (item, of) in enumerate(zip(latest, features), place)]


def _checksum(old: Path) -> str:
    return f"crc32 {zlib.crc32(content(old))}"


def _crc(place: int, item: str | int, features: str | None) -> int:
    return zlib.crc32(f"{place}\0{item}\0{features}".encode(errors="replace"))
