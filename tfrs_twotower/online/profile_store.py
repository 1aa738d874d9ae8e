"""Stores of users' columns, so that requests need not have them."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow as pa

from tfrs_twotower import columns as c
from tfrs_twotower import progress
from tfrs_twotower.errors import DataError

_BLOCK = 10_000  # users written at a time


class ProfileStore(Protocol):
    """The columns of each user. Threads and processes may share one. Every method may raise `StoreError`."""

    def put(self, profiles: dict[str, dict]) -> None:
        """Keeps {user id: {column: value}}; a user's new columns replace all old ones.

        Values are JSON values, without null and without numbers that are not finite.
        """

    def get(self, user_ids: Sequence[str]) -> list[dict]:
        """{column: value} of each user; {} for an unknown user."""

    def close(self) -> None:
        """Closes files and connections."""


def put_table(store: ProfileStore, users: pa.Table) -> int:
    """Puts a users table (`user_id` and feature columns, as in an `InteractionLog`) into a `ProfileStore`.

    Times become seconds since 1970, UTC; missing values are left out.

    Returns:
      The number of users.

    Raises:
      DataError: there is no `user_id`.
      StoreError: the store fails.
    """
    if c.USER_ID not in users.column_names:
        raise DataError(f"`users` must have a column `{c.USER_ID}`. Received: {users.column_names}. Rename it.")
    with progress.bar("Loading users' columns", users.num_rows, "users") as advance:
        for start in range(0, users.num_rows, _BLOCK):
            part = users.slice(start, _BLOCK)
            values = {name: [_plain(v) for v in _listed(part[name])] for name in part.column_names if name != c.USER_ID}
            store.put({
                str(user): {name: column[row] for name, column in values.items() if column[row] is not None}
                for row, user in enumerate(part[c.USER_ID].to_pylist())
            })
            advance(len(part))
    return users.num_rows


def _listed(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("s", column.type.tz), safe=False).cast(pa.int64())
    return column.to_pylist()


def _plain(value: object) -> object:
    if isinstance(value, list):
        return [v for v in map(_plain, value) if v is not None]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
