"""A `ProfileStore` in a file."""

import json
from collections.abc import Sequence

from tfrs_twotower.online.sqlite_file import SqliteFile

_SCHEMA = "CREATE TABLE IF NOT EXISTS profiles (user_id TEXT PRIMARY KEY, columns TEXT NOT NULL) WITHOUT ROWID"
_PUT = "INSERT INTO profiles VALUES (?, ?) ON CONFLICT (user_id) DO UPDATE SET columns = excluded.columns"
_GET = "SELECT columns FROM profiles WHERE user_id = ?"


class SqliteProfileStore:
    """See `ProfileStore`. Argument: a `SqliteFile`."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        with file.transaction() as connection:
            connection.execute(_SCHEMA)

    def put(self, profiles: dict[str, dict]) -> None:
        """See `ProfileStore`. All are kept, or none."""
        with self._file.transaction() as connection:
            connection.executemany(
                _PUT, [(user, json.dumps(columns, allow_nan=False)) for user, columns in profiles.items()]
            )

    def get(self, user_ids: Sequence[str]) -> list[dict]:
        """See `ProfileStore`."""
        found = self._file.read(_GET, [(user,) for user in user_ids])
        return [json.loads(rows[0][0]) if rows else {} for rows in found]

    def close(self) -> None:
        """See `ProfileStore`. Closes the file, even if others use it."""
        self._file.close()
