"""One SQLite database that threads and processes share: the embedded engine of the stores."""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from tfrs_twotower.online.errors import StoreError

_FORMAT = 1  # PRAGMA user_version
_BUSY_SECONDS = 10.0  # the time that a writer waits for another process


class SqliteFile:
    """A database in WAL mode with `synchronous=FULL`: a transaction is on disk when it ends.

    One connection writes, one reads, each for one thread at a time: readers do not wait for the disk.

    Args:
      path: the file; a missing one is made. Beside it SQLite keeps `-wal` and `-shm`.

    Raises:
      StoreError: the path cannot be opened, is no database, or is one of another format.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._writing, self._reading = threading.Lock(), threading.Lock()
        with self._errors("opened"):
            self._writer = self._connect()
            mode = self._writer.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            if mode != "wal":
                raise StoreError(
                    f"The store {self.path} must be a file on a local disk, where SQLite has its WAL mode. It has: "
                    f"{mode}. Name another path."
                )
            found = self._writer.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, _FORMAT):
                raise StoreError(f"{self.path} is a store of format {found}; this version reads {_FORMAT}.")
            self._writer.execute(f"PRAGMA user_version={_FORMAT}")
            self._reader = self._connect()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yields the writing connection. At its end the block's changes are on disk; if it raises, they are undone."""
        with self._writing, self._errors("written"):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def read(self, query: str, many: Iterable[tuple[Any, ...]]) -> list[list[tuple[Any, ...]]]:
        """The rows of one query for each of many tuples of parameters: a list of lists."""
        with self._reading, self._errors("read"):
            return [self._reader.execute(query, parameters).fetchall() for parameters in many]

    def close(self) -> None:
        """Closes both connections after their current work."""
        with self._writing, self._reading:
            self._reader.close()
            self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"The store {self.path} cannot be {what}: {error}.") from error
