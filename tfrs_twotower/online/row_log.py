"""Rows kept on disk: group-committed to SQLite, and moved to Parquet when their hour or day has ended."""

import concurrent.futures
import contextlib
import errno
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

from tfrs_twotower.durable import lock
from tfrs_twotower.errors import invalid
from tfrs_twotower.online.answer_files import DATABASE, Kind, rotate
from tfrs_twotower.online.sqlite import SqliteFile
from tfrs_twotower.online.store_kind import StoreError, StoreUnavailable

_WAITING = 64 * 2**20  # characters of rows that wait for the disk; more are refused
_GROUP = 1000  # calls whose rows share a transaction
_LATER = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # what time may mend
_ROOM = "CREATE TABLE IF NOT EXISTS room (filling BLOB)"  # see `check`
_log = logging.getLogger(__name__)


class RowLog:
    """Keeps rows of some kinds in a folder. Threads may share one; one process opens a folder at a time.

    A thread writes the rows that wait in one transaction, so that they share one flush of the disk. While it flushes,
    the next rows gather. Rows are in SQLite until their hour or day has ended. Then another thread moves them to
    Parquet; see `answer_files`.

    Attributes:
      kinds: the `Kind`s of the rows.
      option: the argument of the command line that names the folder.
      rotate_seconds: the time between two looks for rows to move.

    Args:
      folder: it is made if it is missing.
      clock: seconds since 1970.

    Raises:
      StoreError: another process has the folder, or it cannot be opened.
      StoreUnavailable: its disk is full or read-only.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ()
    option: ClassVar[str]
    rotate_seconds: ClassVar[float] = 60.0

    def __init__(self, folder: str | os.PathLike[str], clock: Callable[[], float] = time.time) -> None:
        self.folder, self._clock = os.fspath(folder), clock
        try:
            self._lock = lock(folder)
        except BlockingIOError as error:
            raise StoreError(f"Another process writes the log {folder}. Name a folder for this one.") from error
        except OSError as error:
            kind = StoreUnavailable if error.errno in _LATER else StoreError
            rule = f"name a folder that can be written to ({error.strerror})"
            raise kind(invalid(self.option, rule, self.folder, "Name another one, or a new one.")) from error
        with contextlib.ExitStack() as undo:  # so that it can be opened again if its disk is full now
            undo.callback(self._lock.close)
            self._file = SqliteFile(os.path.join(folder, DATABASE))
            undo.callback(self._file.close)
            with self._file.transaction("opened") as connection:
                for statement in (*(sql for kind in self.kinds for sql in kind.create), _ROOM):
                    connection.execute(statement)
            undo.pop_all()
        self._queue: queue.SimpleQueue[_Rows | None] = queue.SimpleQueue()
        self._waiting, self._counting = 0, threading.Lock()
        self._failure: Exception | None = None  # of rows that nobody waited for
        self._closed, self._rotating = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=run, name="answer log", daemon=True)
                         for run in (self._write, self._rotate)]
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Raises `StoreError` if the disk has no room for 64 KiB."""
        with self._file.transaction() as connection:
            connection.execute("INSERT INTO room VALUES (zeroblob(65536))")
            connection.execute("DELETE FROM room")

    def rotate(self) -> list[str]:
        """Moves the rows of the hours or days that have ended to Parquet; returns the paths of the new files.

        A thread does so. Raises `StoreError` or `OSError`; the rows stay where they are.
        """
        with self._rotating:
            now = int(self._clock())
            return [path for kind in self.kinds for path in rotate(self.folder, self._file, kind, now)]

    def close(self) -> None:
        """Writes what waits, and lets the folder go."""
        with self._counting:  # no row comes after the None
            self._closed.set()
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._file.close()
        self._lock.close()

    def _put(self, kind: Kind, values: Sequence[Sequence[Any]], wait: bool) -> None:
        """Keeps rows. Raises `StoreError` if the disk fails, or if too much waits for it."""
        rows = [kind.row(row) for row in values]
        put = _Rows(kind.put, rows, sum(len(v) for row in rows for v in row if isinstance(v, str)),
                    wait, concurrent.futures.Future())
        failure = None
        with self._counting:
            if self._closed.is_set() or self._waiting + put.size > _WAITING:
                raise StoreUnavailable(f"The log {self.folder} is closed, or too much waits for its disk.")
            self._waiting += put.size
            if not wait:
                failure, self._failure = self._failure, None
            self._queue.put(put)
        if wait:
            put.done.result()
        elif failure is not None:
            raise failure

    def _write(self) -> None:
        open_ = True
        while open_:
            group = [self._queue.get()]
            while group[-1] is not None and len(group) < _GROUP and not self._queue.empty():
                group.append(self._queue.get())
            open_ = group[-1] is not None
            self._write_group([rows for rows in group if rows is not None])

    def _write_group(self, group: "list[_Rows]") -> None:
        failure: Exception | None = None
        try:
            with self._file.transaction() as connection:
                for put in group:
                    connection.executemany(put.statement, put.rows)
        except Exception as error:  # the thread must survive, and whoever waits must know
            failure = error
        with self._counting:
            self._waiting -= sum(put.size for put in group)
            if failure and not all(put.waited_for for put in group):
                self._failure = failure  # until it is told
        for put in group:
            put.done.set_exception(failure) if failure else put.done.set_result(None)

    def _rotate(self) -> None:
        while True:
            try:
                self.rotate()
            except (StoreError, OSError) as error:
                _log.error("Rows of past hours stay in %s for now: %s", os.path.join(self.folder, DATABASE), error)
            if self._closed.wait(self.rotate_seconds):
                return


class _Rows(NamedTuple):
    statement: str
    rows: list[tuple[Any, ...]]
    size: int  # characters of text
    waited_for: bool
    done: "concurrent.futures.Future[None]"
