"""A `HistoryStore` in a file."""

import sqlite3
import time
from collections.abc import Callable, Collection, Sequence

from tfrs_twotower.online.events import Event
from tfrs_twotower.online.history_store import Retention
from tfrs_twotower.online.sqlite_file import SqliteFile

_COLUMNS = "event_id, user_id, item_id, timestamp, event"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS events (arrival INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, "
    "user_id TEXT NOT NULL, item_id TEXT NOT NULL, timestamp INTEGER NOT NULL, event TEXT NOT NULL, "
    "UNIQUE (user_id, event_id))",
    "CREATE INDEX IF NOT EXISTS events_in_order ON events (user_id, timestamp, arrival)",
)
_PUT = f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?) ON CONFLICT (user_id, event_id) DO NOTHING"
_TOO_MANY = (
    "DELETE FROM events WHERE arrival IN "
    "(SELECT arrival FROM events WHERE user_id = ? ORDER BY timestamp DESC, arrival DESC LIMIT -1 OFFSET ?)"
)
_TOO_OLD = "DELETE FROM events WHERE user_id = ? AND timestamp < ?"
_USERS = "SELECT DISTINCT user_id FROM events WHERE user_id > ? ORDER BY user_id LIMIT ?"
_AT_ONCE = 1000  # users trimmed in one transaction
_LAST = (
    f"SELECT {_COLUMNS} FROM events WHERE user_id = ? AND timestamp >= ? {{types}}"
    "ORDER BY timestamp DESC, arrival DESC LIMIT ?"
)


class SqliteHistoryStore:
    """See `HistoryStore`. Arguments: a `SqliteFile`; a `Retention`; the clock, in seconds since 1970."""

    def __init__(
        self, file: SqliteFile, retention: Retention = Retention(), clock: Callable[[], float] = time.time
    ) -> None:
        self._file, self._retention, self._clock = file, retention, clock
        with file.transaction() as connection:
            for statement in _SCHEMA:
                connection.execute(statement)

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

    def trim(self) -> int:
        """See `HistoryStore`. It lets others write in between."""
        removed, user = 0, ""
        while True:
            with self._file.transaction() as connection:
                users = [found for found, in connection.execute(_USERS, (user, _AT_ONCE))]
                removed += self._prune(connection, users)
            if not users:
                return removed
            user = users[-1]

    def close(self) -> None:
        """See `HistoryStore`."""
        self._file.close()

    def _prune(self, connection: sqlite3.Connection, users: Collection[str]) -> int:
        oldest = self._retention.oldest(self._clock())
        removed = connection.executemany(_TOO_MANY, [(user, self._retention.events) for user in users]).rowcount
        if self._retention.seconds is not None:
            removed = max(removed, 0)
            removed += max(connection.executemany(_TOO_OLD, [(user, oldest) for user in users]).rowcount, 0)
        return max(removed, 0)
