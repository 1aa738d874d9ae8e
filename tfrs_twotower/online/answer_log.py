"""What a server answered, and what of it was seen: kept on disk, by the hour in Parquet."""

import concurrent.futures
import json
import logging
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tfrs_twotower import columns as c
from tfrs_twotower.durable import lock
from tfrs_twotower.errors import DataError, invalid
from tfrs_twotower.online.answer_files import ANSWERS, DATABASE, SEEN, Kind, rotate
from tfrs_twotower.online.events import MAX_AHEAD_SECONDS
from tfrs_twotower.online.sqlite import SqliteFile
from tfrs_twotower.online.store_kind import StoreError, StoreUnavailable

MAX_ANSWER_ID_BYTES = 64
_WAITING = 64 * 2**20  # characters of rows that wait for the disk; more are refused
_GROUP = 1000  # calls whose rows share a transaction
_ROTATE_SECONDS = 60.0
_log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """An answer to one user.

    Attributes:
      answer_id: see `new_answer_id`.
      user_id: the user; "" if unknown.
      timestamp: whole seconds since 1970, UTC.
      version: of the model.
      arm: of the experiment; "" without one.
      context: what the request asked for besides the features, such as `k` and its rules; JSON-able.
      features: {name: value} of the query, as the tower read them; JSON-able.
      items: (item id as text, the channel that proposed it, score), from the first place on.
    """

    answer_id: str
    user_id: str
    timestamp: int
    version: int
    arm: str
    context: dict[str, Any]
    features: dict[str, Any]
    items: list[tuple[str, str, float]]


class Impression(NamedTuple):
    """What a client says of an answer.

    Attributes:
      seen_id: unique.
      answer_id: of the answer.
      timestamp: whole seconds since 1970, UTC.
      places: the 0-based places that the user saw.
      dropped: the places that a later stage, such as a ranker, left out.
    """

    seen_id: str
    answer_id: str
    timestamp: int
    places: list[int]
    dropped: list[int]


def new_answer_id(now: float) -> str:
    """An id of 32 hex digits: the milliseconds since 1970, so that ids sort by time, and 80 random bits."""
    return f"{int(now * 1000) & (1 << 48) - 1:012x}{secrets.token_hex(10)}"


def read_impression(fields: object, now: float, most: int) -> Impression:
    """The `Impression` of a dict, as it came from JSON.

    Args:
      fields: `answer_id`; `places` and `dropped`: lists of 0-based places, at least one of the two; `timestamp`: whole
        seconds since 1970, by default `now`.
      now: seconds since 1970.
      most: the number of places of an answer at most.

    Raises:
      DataError: a name is missing or unknown, or a value is wrong.
    """
    known = ("answer_id", "places", "dropped", c.TIMESTAMP)
    if not isinstance(fields, dict) or not {"answer_id"} < set(fields) <= set(known):
        received = sorted(map(str, fields))[:10] if isinstance(fields, dict) else type(fields).__name__
        raise DataError(f"An impression must be an object with `answer_id`, `places` or `dropped`, and `{c.TIMESTAMP}` "
                        f"if it was not now. Received: {received}.")
    answer = fields["answer_id"]
    if not isinstance(answer, str) or not 0 < len(answer) <= MAX_ANSWER_ID_BYTES or not answer.isascii():
        raise DataError(invalid("answer_id", "be the id of an answer", str(answer)[:80], "Copy it from the answer."))
    at = _whole(fields.get(c.TIMESTAMP, int(now)))
    if at is None or not 0 < at <= now + MAX_AHEAD_SECONDS:
        raise DataError(invalid(c.TIMESTAMP, "be whole seconds since 1970, and not in the future",
                                str(fields[c.TIMESTAMP])[:80], "Seconds, not milliseconds, are meant."))
    places, dropped = (_places(name, fields.get(name, []), most) for name in ("places", "dropped"))
    return Impression(new_answer_id(now), answer, at, places, dropped)


def _places(name: str, values: object, most: int) -> list[int]:
    places = [_whole(value) for value in values] if isinstance(values, list) and len(values) <= most else [None]
    found = [place for place in places if place is not None and 0 <= place < most]
    if len(found) < len(places):
        raise DataError(invalid(name, f"be a list of whole numbers from 0 to {most - 1}", str(values)[:80],
                                "The first item of an answer has place 0."))
    return found


def _whole(value: Any) -> int | None:
    """An int, or a float that is whole, as JSON over gRPC has them; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        return None
    return int(value)


class AnswerLog:
    """Keeps answers and impressions in a folder. Threads may share one; one process opens a folder at a time.

    A thread writes the rows that wait in one transaction, so that they share one flush of the disk. While it flushes,
    the next rows gather. Rows are in SQLite until their hour has ended. Then another thread moves them to
    `answers/HOUR-….parquet` and `seen/HOUR-….parquet`; see `read_answers` and `read_seen`.

    Args:
      folder: it is made if it is missing.
      wait: True: `record` returns when the rows are on disk. False: it returns at once, and a process that dies loses
        the rows of its last moments.
      clock: seconds since 1970.

    Raises:
      StoreError: another process has the folder, or it cannot be opened.
    """

    def __init__(
        self, folder: str | os.PathLike[str], wait: bool = True, clock: Callable[[], float] = time.time
    ) -> None:
        self.folder, self._wait, self._clock = os.fspath(folder), wait, clock
        try:
            self._lock = lock(folder)
        except BlockingIOError as error:
            raise StoreError(f"Another process writes the answer log {folder}. Name a folder for this one.") from error
        except OSError as error:
            raise StoreError(f"The answer log {folder} cannot be opened: {error}.") from error
        self._file = SqliteFile(os.path.join(folder, DATABASE))
        with self._file.transaction("opened") as connection:
            for kind in (ANSWERS, SEEN):
                connection.execute(kind.create)
            connection.execute("CREATE TABLE IF NOT EXISTS room (filling BLOB)")
        self._queue: queue.SimpleQueue[_Rows | None] = queue.SimpleQueue()
        self._waiting, self._counting = 0, threading.Lock()
        self._failure: Exception | None = None  # of rows that nobody waited for
        self._closed, self._rotating = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=run, name="answer log", daemon=True)
                         for run in (self._write, self._rotate)]
        for thread in self._threads:
            thread.start()

    def record(self, answers: Sequence[Answer]) -> None:
        """Keeps answers. Raises `StoreError` if the disk fails, or if too much waits for it."""
        rows = [(*answer[:5], json.dumps(answer.context), json.dumps(answer.features),
                 *([item[part] for item in answer.items] for part in range(3))) for answer in answers]
        self._put(ANSWERS, rows, self._wait)

    def saw(self, impressions: Sequence[Impression]) -> None:
        """Keeps impressions: they are on disk when it returns. Raises `StoreError`."""
        self._put(SEEN, impressions, True)

    def check(self) -> None:
        """Raises `StoreError` if the disk has no room for 64 KiB."""
        with self._file.transaction() as connection:
            connection.execute("INSERT INTO room VALUES (zeroblob(65536))")
            connection.execute("DELETE FROM room")

    def rotate(self) -> list[str]:
        """Moves the rows of the hours that have ended to Parquet; returns the paths of the new files.

        A thread does so every minute. Raises `StoreError` or `OSError`; the rows stay where they are.
        """
        with self._rotating:
            now = int(self._clock())
            return [path for kind in (ANSWERS, SEEN) for path in rotate(self.folder, self._file, kind, now)]

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
        rows = [kind.row(row) for row in values]
        put = _Rows(kind.put, rows, sum(len(v) for row in rows for v in row if isinstance(v, str)),
                    concurrent.futures.Future())
        with self._counting:
            if self._closed.is_set() or self._waiting + put.size > _WAITING:
                raise StoreUnavailable(f"The answer log {self.folder} is closed, or too much waits for its disk.")
            self._waiting += put.size
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
            self._failure = failure
        for put in group:
            put.done.set_exception(failure) if failure else put.done.set_result(None)

    def _rotate(self) -> None:
        while True:
            try:
                self.rotate()
            except (StoreError, OSError) as error:
                _log.error("Answers of past hours stay in %s for another minute: %s", DATABASE, error)
            if self._closed.wait(_ROTATE_SECONDS):
                return


class _Rows(NamedTuple):
    statement: str
    rows: list[tuple[Any, ...]]
    size: int  # characters of text
    done: "concurrent.futures.Future[None]"
