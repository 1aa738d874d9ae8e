"""The files of an answer log: rows of the last hour in SQLite, earlier ones in Parquet, in a folder for each kind.

A file's name begins with the hour of its rows, `2026-11-30T16`, in UTC. It goes on with the id of its first row. So a
process that was killed between writing a file and removing its rows from SQLite writes the same file again.
"""

import datetime
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfrs_twotower import columns as c
from tfrs_twotower.durable import written_aside
from tfrs_twotower.online.sqlite import SqliteFile

DATABASE = "log.db"
ANSWER_ID, SEEN_ID = "answer_id", "seen_id"
HOUR = 3600
_ROWS = 20_000  # of one Parquet file: one is made in memory
_NAME = "%Y-%m-%dT%H"


class Kind(NamedTuple):
    """A kind of row: the name of its table and of its folder, its columns, and those that SQLite holds as JSON lists.

    The first column is the row's id.
    """

    name: str
    schema: pa.Schema

    @property
    def create(self) -> str:
        """The SQL that makes the table."""
        columns = ", ".join(
            f"{field.name} {'INTEGER' if pa.types.is_integer(field.type) else 'TEXT'} NOT NULL" for field in self.schema
        )
        return (f"CREATE TABLE IF NOT EXISTS {self.name} (arrival INTEGER PRIMARY KEY AUTOINCREMENT, {columns}, "
                f"UNIQUE ({self.schema.names[0]}))")

    @property
    def put(self) -> str:
        """The SQL that adds a row; one with a known id changes nothing."""
        return (f"INSERT INTO {self.name} ({', '.join(self.schema.names)}) VALUES "
                f"({', '.join('?' * len(self.schema))}) ON CONFLICT DO NOTHING")

    def row(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """A row as SQLite keeps it."""
        return tuple(json.dumps(v) if isinstance(v, (list, tuple)) else v for v in values)

    def table(self, rows: Sequence[Sequence[Any]]) -> pa.Table:
        """The Arrow table of rows from SQLite."""
        columns = list(zip(*rows)) or [()] * len(self.schema)
        return pa.table(
            [pa.array([json.loads(v) for v in values] if pa.types.is_list(field.type) else values, field.type)
             for field, values in zip(self.schema, columns)], self.schema,
        )


_TEXTS = pa.list_(pa.string())
ANSWERS = Kind("answers", pa.schema([
    (ANSWER_ID, pa.string()), (c.USER_ID, pa.string()), (c.TIMESTAMP, pa.int64()), ("version", pa.int64()),
    ("arm", pa.string()), ("context", pa.string()), ("features", pa.string()), (c.ITEM_ID, _TEXTS),
    ("channel", _TEXTS), ("score", pa.list_(pa.float32())),
]))
SEEN = Kind("seen", pa.schema([
    (SEEN_ID, pa.string()), (ANSWER_ID, pa.string()), (c.TIMESTAMP, pa.int64()), ("place", pa.list_(pa.int32())),
    ("dropped", pa.list_(pa.int32())),
]))


def rotate(folder: str | os.PathLike[str], file: SqliteFile, kind: Kind, before: int) -> Iterator[str]:
    """Moves rows of the hours that ended by `before` (seconds since 1970) to Parquet; yields each file's path.

    Call it in one process at a time. It may be killed at any moment and called again.

    Raises:
      StoreError: SQLite fails.
      OSError: a file cannot be written.
    """
    until = before // HOUR * HOUR
    names = ", ".join(kind.schema.names)
    find = (f"SELECT arrival, {names} FROM {kind.name} WHERE timestamp < ? AND timestamp / {HOUR} = "
            f"(SELECT timestamp / {HOUR} FROM {kind.name} WHERE timestamp < ? ORDER BY arrival LIMIT 1) "
            f"ORDER BY arrival LIMIT {_ROWS}")
    os.makedirs(os.path.join(folder, kind.name), exist_ok=True)
    while rows := file.read(find, [(until, until)])[0]:
        table = kind.table([row[1:] for row in rows])
        hour = datetime.datetime.fromtimestamp(table[c.TIMESTAMP][0].as_py(), datetime.timezone.utc).strftime(_NAME)
        path = os.path.join(folder, kind.name, f"{hour}-{table[0][0].as_py()}.parquet")
        with written_aside(path) as aside:
            pq.write_table(table, aside, compression="zstd")
        with file.transaction() as connection:
            connection.executemany(f"DELETE FROM {kind.name} WHERE arrival = ?", [(row[0],) for row in rows])
        yield path


def read_answers(folder: str | os.PathLike[str], since: int | None = None, until: int | None = None) -> pa.Table:
    """The answers of a log with since ≤ timestamp < until (seconds since 1970; None: no limit), each once, by time.

    Returns:
      `answer_id`, `user_id` ("" for an unknown user), `timestamp`, `version`, `arm`, `context` and `features` (JSON),
      and by place `item_id`, `channel` and `score`, which are lists.

    Raises:
      StoreError: the database of the last hour cannot be read.
      OSError: a file cannot be read.
    """
    return _read(folder, ANSWERS, since, until)


def read_seen(folder: str | os.PathLike[str], since: int | None = None, until: int | None = None) -> pa.Table:
    """What clients said of answers, as `read_answers`.

    Returns:
      `seen_id`, `answer_id`, `timestamp`, `place`: the 0-based places that the user saw, and `dropped`: the places that
      a later stage left out. One answer may have several rows.
    """
    return _read(folder, SEEN, since, until)


def hours(folder: str | os.PathLike[str]) -> list[int]:
    """The beginnings of the hours that have answers, in seconds since 1970."""
    found = {_hour_end(file.name) - HOUR for file in (Path(folder) / ANSWERS.name).glob("*.parquet")}
    query = f"SELECT DISTINCT timestamp / {HOUR} * {HOUR} FROM {ANSWERS.name}"
    return sorted(found.union(hour for hour, in _rows(folder, query, ())))


def _read(folder: str | os.PathLike[str], kind: Kind, since: int | None, until: int | None) -> pa.Table:
    low, high = since or 0, 2**62 if until is None else until
    tables = [kind.table(_kept(folder, kind, low, high))]  # first: rows that move to a file meanwhile are read twice
    columns, path = kind.schema.names, Path(folder) / kind.name
    for file in sorted(path.glob("*.parquet")):
        if _hour_end(file.name) > low and _hour_end(file.name) - HOUR < high:
            table = pq.ParquetFile(file).read(columns)
            time = table[c.TIMESTAMP]
            tables.append(table.filter(pc.and_(pc.greater_equal(time, low), pc.less(time, high))).cast(kind.schema))
    return _once(pa.concat_tables(tables[1:] + tables[:1]))


def _kept(folder: str | os.PathLike[str], kind: Kind, low: int, high: int) -> list[tuple[Any, ...]]:
    names = ", ".join(kind.schema.names)
    return _rows(
        folder, f"SELECT {names} FROM {kind.name} WHERE timestamp >= ? AND timestamp < ? ORDER BY arrival", (low, high))


def _rows(folder: str | os.PathLike[str], query: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """The rows of a query to the database; none if there is no database."""
    path = os.path.join(folder, DATABASE)
    if not os.path.exists(path):
        return []
    file = SqliteFile(path)
    try:
        return file.read(query, [parameters])[0]
    finally:
        file.close()


def _hour_end(name: str) -> int:
    hour = datetime.datetime.strptime(name[:13], _NAME).replace(tzinfo=datetime.timezone.utc)
    return int(hour.timestamp()) + HOUR


def _once(table: pa.Table) -> pa.Table:
    """The table with the first row of each id, in the order of time."""
    ids = table[0].combine_chunks().dictionary_encode()
    rows = pa.table({"id": ids.indices, "row": range(len(table))}).group_by("id").aggregate([("row", "min")])
    first = table.take(rows.sort_by("row_min")["row_min"])
    return first.take(pc.sort_indices(first, [(c.TIMESTAMP, "ascending")]))
