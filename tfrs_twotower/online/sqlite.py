"""`sqlite:PATH`: users in a file, which is made if it is missing. Threads and processes share it."""

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from tfrs_twotower.online.events import Event
from tfrs_twotower.online.history_store import Retention, kinds_of_items
from tfrs_twotower.online.store_kind import SQLITE, StoreError, StoreKind, Stores, StoreUnavailable

_FORMAT = 1  # PRAGMA user_version
_BUSY_SECONDS = 10.0  # the time that a writer waits for another process

_COLUMNS = ", ".join(Event._fields)
_EVENTS = (
    "CREATE TABLE IF NOT EXISTS events (arrival INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, "
    "user_id TEXT NOT NULL, item_id TEXT NOT NULL, timestamp INTEGER NOT NULL, event TEXT NOT NULL, "
    "UNIQUE (user_id, event_id))",
    "CREATE INDEX IF NOT EXISTS events_in_order ON events (user_id, timestamp, arrival)",
)
# Columns that files of earlier versions lack. They are added in one transaction, in place: no row is rewritten.
# Earlier versions can still read and write such a file.
_ADDED = {"answer": "TEXT NOT NULL DEFAULT ''", "place": "INTEGER", "dwell": "REAL", "value": "REAL",
          "query": "TEXT NOT NULL DEFAULT ''"}
_PUT = (
    f"INSERT INTO events ({_COLUMNS}) VALUES ({', '.join('?' * len(Event._fields))}) "
    "ON CONFLICT (user_id, event_id) DO NOTHING"
)
_NEWEST_FIRST = "ORDER BY timestamp DESC, arrival DESC"
_TOO_MANY = (  # of the events beyond the newest: of a kept kind those beyond its newest, and all of other kinds
    "DELETE FROM events WHERE arrival IN (SELECT arrival FROM ("
    f"SELECT arrival, event, row_number() OVER (PARTITION BY event {_NEWEST_FIRST}) AS place FROM ("
    f"SELECT arrival, event, timestamp FROM events WHERE user_id = ? {_NEWEST_FIRST} LIMIT -1 OFFSET ?)) "
    "WHERE place > ? OR event NOT IN ({kinds}))"
)
_TOO_OLD = "DELETE FROM events WHERE user_id = ? AND timestamp < ?"
_USERS = "SELECT DISTINCT user_id FROM events WHERE user_id > ? ORDER BY user_id LIMIT ?"
_COUNT = "SELECT coalesce(sum(timestamp >= ?), 0), count(*) FROM events WHERE user_id BETWEEN ? AND ?"
_PAGE = 10_000  # events read at a time
_AT_ONCE = 1000  # users counted in one query, and trimmed in one transaction
_LAST = (
    f"SELECT {_COLUMNS} FROM events WHERE user_id = ? AND timestamp >= ? {{types}}"
    "ORDER BY timestamp DESC, arrival DESC LIMIT ?"
)
_ITEMS = f"SELECT item_id, event FROM events WHERE user_id = ? AND timestamp >= ? {_NEWEST_FIRST} LIMIT ?"
_ALL = (
    f"SELECT arrival, {_COLUMNS} FROM events WHERE arrival > ? AND timestamp >= ? AND timestamp < ? "
    "ORDER BY arrival LIMIT ?"
)

_PROFILES = "CREATE TABLE IF NOT EXISTS profiles (user_id TEXT PRIMARY KEY, columns TEXT NOT NULL) WITHOUT ROWID"
_PUT_PROFILE = "INSERT INTO profiles VALUES (?, ?) ON CONFLICT (user_id) DO UPDATE SET columns = excluded.columns"
_GET_PROFILE = "SELECT columns FROM profiles WHERE user_id = ?"


class SqliteFile:
    """A database in WAL mode with `synchronous=FULL`: a transaction is on disk when it ends.

    One connection writes, one reads, each for one thread at a time: readers do not wait for the disk.

    Args:
      path: the file; a missing one is made. Beside it SQLite keeps `-wal` and `-shm`.

    Raises:
      StoreError: the folder does not exist, the file is no database, or it is one of another format.
      StoreUnavailable: the file cannot be opened, for example on a full disk.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._writing, self._reading = threading.Lock(), threading.Lock()
        if os.path.exists(self.path) and not os.path.isfile(self.path):  # SQLite would wait for a pipe
            raise StoreError(f"The store {self.path} must be a file. Name another path.")
        with self._errors("opened"), contextlib.ExitStack() as undo:
            self._writer = self._connect()
            undo.callback(self._writer.close)
            mode = self._writer.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            if mode != "wal":
                raise StoreError(
                    f"The store {self.path} must be a file on a local disk, where SQLite has its WAL mode. It has: "
                    f"{mode}. Name another path."
                )
            found = self._writer.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, _FORMAT):
                raise StoreError(f"{self.path} is a store of format {found}; this version reads {_FORMAT}.")
            if not found:
                self._writer.execute(f"PRAGMA user_version={_FORMAT}")
            self._reader = self._connect()
            undo.pop_all()

    @contextlib.contextmanager
    def transaction(self, what: str = "written") -> Iterator[sqlite3.Connection]:
        """Yields the writing connection. At its end the block's changes are on disk; if it raises, they are undone.

        what: cannot be done if it fails: "written", or "opened" for the tables without which the file is of no use.
        """
        with self._writing, self._errors(what):
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
            there = os.path.isdir(os.path.dirname(self.path) or ".")
            later = what == "opened" and there and isinstance(error, sqlite3.OperationalError)
            kind = StoreUnavailable if later else StoreError
            raise kind(f"The store {self.path} cannot be {what}: {error}.") from error


class SqliteHistoryStore:
    """See `HistoryStore`. Arguments: a `SqliteFile`; a `Retention`; the clock, in seconds since 1970."""

    def __init__(
        self, file: SqliteFile, retention: Retention = Retention(), clock: Callable[[], float] = time.time
    ) -> None:
        self._file, self._retention, self._clock = file, retention, clock
        with file.transaction("opened") as connection:
            for statement in _EVENTS:
                connection.execute(statement)
            there = {name for _, name, *_ in connection.execute("PRAGMA table_info(events)")}
            for name, kind in _ADDED.items():
                if name not in there:
                    connection.execute(f"ALTER TABLE events ADD COLUMN {name} {kind}")

    def append(self, events: Sequence[Event]) -> int:
        """See `HistoryStore`. All events are kept, or none."""
        with self._file.transaction() as connection:
            added = connection.executemany(_PUT, events).rowcount
            self._prune(connection, {event.user_id for event in events})
        return max(added, 0)  # −1: there were no events

    def last(self, user_ids: Sequence[str], n: int, types: Collection[str] = ()) -> list[list[Event]]:
        """See `HistoryStore`."""
        types = tuple(types)
        chosen = f"AND event IN ({', '.join('?' * len(types))}) " if types else ""
        oldest = self._retention.oldest(self._clock())
        found = self._file.read(_LAST.format(types=chosen), [(user, oldest, *types, n) for user in user_ids])
        return [[Event._make(row) for row in reversed(rows)] for rows in found]

    def items(self, user_ids: Sequence[str]) -> list[dict[str, str]]:
        """See `HistoryStore`."""
        oldest, most = self._retention.oldest(self._clock()), self._retention.most
        return [*map(kinds_of_items, self._file.read(_ITEMS, [(user, oldest, most) for user in user_ids]))]

    def events(self, since: int, until: int) -> Iterator[list[Event]]:
        """See `HistoryStore`. It lets others read and write in between."""
        arrival = 0
        while rows := self._file.read(_ALL, [(arrival, since, until, _PAGE)])[0]:
            arrival = rows[-1][0]
            yield [Event._make(row[1:]) for row in rows]

    def trim(self) -> int:
        """See `HistoryStore`. It lets others read and write in between."""
        before, removed = self._retention.removed_before(self._clock(), self._count), 0
        for users in self._users():
            with self._file.transaction() as connection:
                removed += self._prune(connection, users)
                removed += max(connection.executemany(_TOO_OLD, [(user, before) for user in users]).rowcount, 0)
        return removed

    def close(self) -> None:
        """See `HistoryStore`."""
        self._file.close()

    def _users(self) -> Iterator[list[str]]:
        """All users, some at a time."""
        users = [""]
        while users := [user for user, in self._file.read(_USERS, [(users[-1], _AT_ONCE)])[0]]:
            yield users

    def _count(self, since: int) -> tuple[int, int]:
        counts = [self._file.read(_COUNT, [(since, users[0], users[-1])])[0][0] for users in self._users()]
        return sum(recent for recent, _ in counts), sum(total for _, total in counts)

    def _prune(self, connection: sqlite3.Connection, users: Collection[str]) -> int:
        most, kinds = self._retention.events, self._retention.kinds
        statement = _TOO_MANY.format(kinds=", ".join("?" * len(kinds)))
        return max(connection.executemany(statement, [(user, most, most, *kinds) for user in users]).rowcount, 0)


class SqliteProfileStore:
    """See `ProfileStore`. Argument: a `SqliteFile`."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        with file.transaction("opened") as connection:
            connection.execute(_PROFILES)

    def put(self, profiles: dict[str, dict]) -> None:
        """See `ProfileStore`. All are kept, or none."""
        with self._file.transaction() as connection:
            connection.executemany(
                _PUT_PROFILE, [(user, json.dumps(columns, allow_nan=False)) for user, columns in profiles.items()]
            )

    def get(self, user_ids: Sequence[str]) -> list[dict]:
        """See `ProfileStore`."""
        found = self._file.read(_GET_PROFILE, [(user,) for user in user_ids])
        return [json.loads(rows[0][0]) if rows else {} for rows in found]

    def close(self) -> None:
        """See `ProfileStore`. Closes the file, even if others use it."""
        self._file.close()


class SqliteStore(StoreKind):
    """Users in an SQLite file."""

    schemes = (SQLITE,)

    @classmethod
    def stores(cls, address: str, retention: Retention, allow_loss: bool) -> Stores:
        """See `StoreKind.stores`."""
        file = SqliteFile(address.removeprefix(SQLITE))
        return Stores(SqliteHistoryStore(file, retention), SqliteProfileStore(file), retention)
