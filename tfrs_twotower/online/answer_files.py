"""The files of a log of rows: the last hour or day in SQLite, earlier ones in Parquet, in a folder for each kind.

Readers take a folder of such folders for one log: that of all servers.

A file's name begins with the hour of its rows, `2026-11-30T16`, or with the day, in UTC. It goes on with the id of its
first row. So a process that was killed between writing a file and removing its rows from SQLite writes the same file
again.
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
from tfrs_twotower.online.store_kind import StoreError

try:  # a server has it: for the hundred scores of an answer it takes a tenth of the time
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]

DATABASE = "log.db"
ANSWER_ID, SEEN_ID = "answer_id", "seen_id"
SHADOW = "shadow:"  # begins the arm of an answer that nobody saw; see `experiments.Arm.shadow`
HOUR, DAY = 3600, 86_400
_ROWS = 20_000  # of one Parquet file: one is made in memory
_NAMES = {HOUR: "%Y-%m-%dT%H", DAY: "%Y-%m-%d"}
_EXAMPLE = {HOUR: "2026-11-30T16", DAY: "2026-11-30"}


def _text(values: Sequence[Any]) -> str:
    return json.dumps(values) if orjson is None else orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY).decode()


class Kind(NamedTuple):
    """A kind of row.

    Attributes:
      name: of its table and of its folder.
      schema: its columns. The first is the row's id, which is part of file names. SQLite holds lists as JSON.
      key: the columns by which a row is known; one that is known changes nothing.
      span: HOUR or DAY, the time of a file's rows.
    """

    name: str
    schema: pa.Schema
    key: tuple[str, ...]
    span: int = HOUR

    @property
    def create(self) -> tuple[str, str]:
        """The SQL that makes the table, and its index by time."""
        columns = ", ".join(f"{field.name} {_sql_type(field.type)}" for field in self.schema)
        return (
            f"CREATE TABLE IF NOT EXISTS {self.name} (arrival INTEGER PRIMARY KEY AUTOINCREMENT, {columns}, "
            f"UNIQUE ({', '.join(self.key)}))",
            f"CREATE INDEX IF NOT EXISTS {self.name}_by_time ON {self.name} (timestamp)",
        )

    @property
    def put(self) -> str:
        """The SQL that adds a row; one with a known id changes nothing."""
        return (f"INSERT INTO {self.name} ({', '.join(self.schema.names)}) VALUES "
                f"({', '.join('?' * len(self.schema))}) ON CONFLICT DO NOTHING")

    def start(self, name: str) -> int:
        """The beginning of the time of a file, by its name, in seconds since 1970."""
        begin = datetime.datetime.strptime(name[:len(_EXAMPLE[self.span])], _NAMES[self.span])
        return int(begin.replace(tzinfo=datetime.timezone.utc).timestamp())

    def row(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """A row as SQLite keeps it."""
        return tuple(_text(v) if isinstance(v, (list, tuple)) else v for v in values)

    def table(self, rows: Sequence[Sequence[Any]]) -> pa.Table:
        """The Arrow table of rows from SQLite."""
        columns = list(zip(*rows)) or [()] * len(self.schema)
        return pa.table(
            [pa.array([json.loads(v) for v in values] if pa.types.is_list(field.type) else values, field.type)
             for field, values in zip(self.schema, columns)], self.schema,
        )


def _sql_type(kind: pa.DataType) -> str:
    return "INTEGER" if pa.types.is_integer(kind) else "REAL" if pa.types.is_floating(kind) else "TEXT"


_TEXTS = pa.list_(pa.string())
ANSWERS = Kind("answers", pa.schema([
    (ANSWER_ID, pa.string()), (c.USER_ID, pa.string()), (c.TIMESTAMP, pa.int64()), ("version", pa.int64()),
    ("arm", pa.string()), ("context", pa.string()), ("features", pa.string()), (c.ITEM_ID, _TEXTS),
    ("channel", _TEXTS), ("score", pa.list_(pa.float32())),
]), (ANSWER_ID,))
SEEN = Kind("seen", pa.schema([
    (SEEN_ID, pa.string()), (ANSWER_ID, pa.string()), (c.TIMESTAMP, pa.int64()), ("place", pa.list_(pa.int32())),
    ("dropped", pa.list_(pa.int32())),
]), (SEEN_ID,))


def rotate(folder: str | os.PathLike[str], file: SqliteFile, kind: Kind, before: int) -> Iterator[str]:
    """Moves rows of the hours, or days, that ended by `before` (seconds since 1970) to Parquet; yields the paths.

    Call it in one process at a time. It may be killed at any moment and called again.

    Raises:
      StoreError: SQLite fails.
      OSError: a file cannot be written.
    """
    oldest = f"SELECT min(timestamp) FROM {kind.name} WHERE timestamp < ?"
    find = (f"SELECT arrival, {', '.join(kind.schema.names)} FROM {kind.name} WHERE timestamp >= ? AND timestamp < ? "
            f"ORDER BY arrival LIMIT {_ROWS}")
    os.makedirs(os.path.join(folder, kind.name), exist_ok=True)
    while (first := file.read(oldest, [(before // kind.span * kind.span,)])[0][0][0]) is not None:
        start = first // kind.span * kind.span
        rows = file.read(find, [(start, start + kind.span)])[0]
        table = kind.table([row[1:] for row in rows])
        time = datetime.datetime.fromtimestamp(start, datetime.timezone.utc).strftime(_NAMES[kind.span])
        path = os.path.join(folder, kind.name, f"{time}-{table[0][0].as_py()}.parquet")
        with written_aside(path) as aside:
            pq.write_table(table, aside, compression="zstd")
        with file.transaction() as connection:
            connection.executemany(f"DELETE FROM {kind.name} WHERE arrival = ?", [(row[0],) for row in rows])
        yield path


def read_answers(
    folder: str | os.PathLike[str], since: int | None = None, until: int | None = None, shadows: bool = True
) -> pa.Table:
    """The answers of a log with since ≤ timestamp < until (seconds since 1970; None: no limit), each once, by time.

    folder: of a log, or of the logs of several servers.
    shadows: False leaves out those of shadow arms, which nobody saw.

    Returns:
      `answer_id`, `user_id` ("" for an unknown user), `timestamp`, `version`, `arm`, `context` and `features` (JSON),
      and by place `item_id`, `channel` and `score`, which are lists.

    Raises:
      StoreError: the folder has no answers, now or ever, or the database of the last hour cannot be read.
      OSError: a file cannot be read.
    """
    found = _read(_known(folder, ANSWERS), ANSWERS, since, until)
    return found if shadows else found.filter(pc.invert(pc.starts_with(found["arm"], SHADOW)))


def read_seen(folder: str | os.PathLike[str], since: int | None = None, until: int | None = None) -> pa.Table:
    """What clients said of answers, as `read_answers`.

    Returns:
      `seen_id`, `answer_id`, `timestamp`, `place`: the 0-based places that the user saw, and `dropped`: the places that
      a later stage left out. One answer may have several rows.
    """
    return read(folder, SEEN, since, until)


def starts(folder: str | os.PathLike[str], kind: Kind = ANSWERS) -> list[int]:
    """The beginnings of the hours, or days, that have rows, in seconds since 1970.

    Raises `StoreError` if the folder has no rows of this kind, now or ever.
    """
    return _hours(_known(folder, kind), kind)


def hours(folder: str | os.PathLike[str], kind: Kind) -> list[int]:
    """As `starts`; nothing if the folder has no rows of this kind."""
    return _hours(_logs(folder, kind), kind)


def _hours(logs: Sequence[Path], kind: Kind) -> list[int]:
    query, found = f"SELECT DISTINCT timestamp / {kind.span} * {kind.span} FROM {kind.name}", set()
    for log in logs:
        found |= {start for start, in _rows(log, query, ())}  # first, as in `read`: rows move to files meanwhile
        found |= {kind.start(file.name) for file in _files(log, kind)}
    return sorted(found)


def read(folder: str | os.PathLike[str], kind: Kind, since: int | None = None, until: int | None = None) -> pa.Table:
    """The rows of a kind with since ≤ timestamp < until, each once, by time; none if the folder has none.

    Raises as `read_answers` if something cannot be read.
    """
    return _read(_logs(folder, kind), kind, since, until)


def _read(logs: Sequence[Path], kind: Kind, since: int | None, until: int | None) -> pa.Table:
    low, high = since or 0, 2**62 if until is None else until
    tables = [kind.schema.empty_table()]
    for log in logs:
        kept = kind.table(_kept(log, kind, low, high))  # first: rows that move to a file meanwhile are read twice
        for file in sorted(_files(log, kind)):
            if kind.start(file.name) + kind.span > low and kind.start(file.name) < high:
                table = pq.ParquetFile(file).read(kind.schema.names)
                time = table[c.TIMESTAMP]
                tables.append(table.filter(pc.and_(pc.greater_equal(time, low), pc.less(time, high))).cast(kind.schema))
        tables.append(kept)
    return _once(pa.concat_tables(tables), kind.key)


def _known(folder: str | os.PathLike[str], kind: Kind) -> list[Path]:
    """`_logs`, or a `StoreError` if there are none."""
    logs = _logs(folder, kind)
    if not logs:
        raise StoreError(f"{folder} holds no {kind.name}. Name a folder that `serve --log-requests` (answers) or "
                         "`--archive` (events) wrote, or a folder of such folders.")
    return logs


def _logs(folder: str | os.PathLike[str], kind: Kind) -> list[Path]:
    """The folder, if it is a log, and the logs in it that have such rows, one for each server."""
    path, there = Path(folder), "SELECT 1 FROM sqlite_master WHERE name = ?"
    own = [path] if (path / DATABASE).is_file() or any(_files(path, kind)) else []
    inside = sorted(path.iterdir()) if path.is_dir() else []
    return own + [log for log in inside if any(_files(log, kind)) or _rows(log, there, (kind.name,))]


def _files(log: Path, kind: Kind) -> Iterator[Path]:
    return (log / kind.name).glob("*.parquet")


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


def _once(table: pa.Table, key: Sequence[str]) -> pa.Table:
    """The table with the first row of each key, in the order of time."""
    rows = table.select(key).append_column("row", pa.array(range(len(table)), pa.int64()))
    first = table.take(rows.group_by(list(key)).aggregate([("row", "min")]).sort_by("row_min")["row_min"])
    return first.take(pc.sort_indices(first, [(c.TIMESTAMP, "ascending")]))
