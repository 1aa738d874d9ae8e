"""The counts of showings and clicks of each new item, in a SQLite file that processes share."""

import os
from collections.abc import Callable, Collection, Iterable

import numpy as np

from tfrs_twotower.online import SqliteFile

_SCHEMA = """
CREATE TABLE IF NOT EXISTS new_items (
  item_id TEXT PRIMARY KEY, shown INTEGER NOT NULL DEFAULT 0, clicked INTEGER NOT NULL DEFAULT 0,
  tried INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shown_to (
  item_id TEXT, user_id TEXT, clicked INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (item_id, user_id)) WITHOUT ROWID
"""
# Files of earlier versions counted every showing of a user.
_TRIED = """
ALTER TABLE new_items ADD COLUMN tried INTEGER NOT NULL DEFAULT 0;
UPDATE new_items SET tried = (SELECT COUNT(*) FROM shown_to WHERE shown_to.item_id = new_items.item_id)
"""


class Exposures:
    """The pool of new items, with their counts. The changes of a call are on disk when it returns.

    All showings of an item to one user are one trial, and all clicks of that user on it are one click. So the click
    rate is the share of users who clicked the item among those to whom it was shown. If the user is not known, every
    showing is a trial. The cap counts all showings.

    Threads and processes may share one. Every method may raise `StoreError`.

    Args:
      path: the file; a missing one is made. It may be the file of a store.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = SqliteFile(path)
        with self._file.transaction("opened") as connection:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            if "tried" not in [column[1] for column in connection.execute("PRAGMA table_info(new_items)")]:
                for statement in _TRIED.split(";"):
                    connection.execute(statement)

    def add(self, item_ids: Iterable[str]) -> None:
        """Adds items to the pool; an item that is already there keeps its counts."""
        with self._file.transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO new_items (item_id) VALUES (?)", [(i,) for i in item_ids])

    def remove(self, item_ids: Collection[str]) -> None:
        """Removes items from the pool, with their counts."""
        with self._file.transaction() as connection:
            for table in ("new_items", "shown_to"):
                connection.executemany(f"DELETE FROM {table} WHERE item_id = ?", [(i,) for i in item_ids])

    def show(
        self, user_id: str, cap: int, choose: Callable[[list[str], np.ndarray, np.ndarray], list[int]]
    ) -> list[int]:
        """Chooses among the items that were shown fewer than `cap` times, and counts the chosen as shown: one step.

        Args:
          user_id: the user; "" if not known: then clicks cannot be counted.
          cap: the largest number of showings of an item, also with concurrent callers.
          choose: (ids: list of m, tried: int64 [m], clicked: int64 [m]) → rows of the items to show.

        Returns:
          The result of `choose`.
        """
        with self._file.transaction() as connection:
            pool = connection.execute(
                "SELECT item_id, tried, clicked FROM new_items WHERE shown < ? ORDER BY item_id", (cap,)
            ).fetchall()
            ids = [row[0] for row in pool]
            counts = np.array([row[1:] for row in pool], np.int64).reshape(-1, 2)
            rows = choose(ids, counts[:, 0], counts[:, 1])
            for item in (ids[row] for row in rows):
                new = 1 if not user_id else connection.execute(
                    "INSERT OR IGNORE INTO shown_to (item_id, user_id) VALUES (?, ?)", (item, user_id)
                ).rowcount
                connection.execute(
                    "UPDATE new_items SET shown = shown + 1, tried = tried + ? WHERE item_id = ?", (new, item)
                )
        return rows

    def take_back(self, item_id: str, user_id: str) -> None:
        """Undoes the trial of an item that was not shown to the user after all. One with a click stays."""
        with self._file.transaction() as connection:
            gone = connection.execute(
                "DELETE FROM shown_to WHERE item_id = ? AND user_id = ? AND clicked = 0", (item_id, user_id)
            ).rowcount
            connection.execute("UPDATE new_items SET tried = tried - ? WHERE item_id = ?", (gone, item_id))

    def click(self, pairs: Iterable[tuple[str, str]]) -> int:
        """Counts clicks on shown items; returns the number that counted.

        A click counts once per user and item, so that it can be reported again. It counts only if the pool showed that
        item to that user: clicks on items that users find by themselves do not measure a proposal.

        Args:
          pairs: list of (user id, item id).
        """
        counted = 0
        with self._file.transaction() as connection:
            for user, item in pairs:
                new = connection.execute(
                    "UPDATE shown_to SET clicked = 1 WHERE item_id = ? AND user_id = ? AND clicked = 0", (item, user)
                ).rowcount
                connection.execute("UPDATE new_items SET clicked = clicked + ? WHERE item_id = ?", (new, item))
                counted += new
        return counted

    def counts(self) -> dict[str, tuple[int, int]]:
        """{item id: (tried, clicked)} of the pool: the number of users who were shown it, and who clicked it."""
        rows, = self._file.read("SELECT item_id, tried, clicked FROM new_items ORDER BY item_id", [()])
        return {item: (tried, clicked) for item, tried, clicked in rows}

    def check(self) -> None:
        """Raises `StoreError` if the file cannot be read."""
        self._file.read("SELECT 1 FROM new_items LIMIT 1", [()])

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
