"""The base of sources of interactions, and the names of their columns."""

from __future__ import annotations

import contextlib
import json
import lzma
import os
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from tfrs_twotower.columns import EVENT, ITEM_ID, LABEL, SESSION, TIMESTAMP, USER_ID, WEIGHT
from tfrs_twotower.configuration import config
from tfrs_twotower.errors import DataError, nearest

# Columns that a batch may carry besides the canonical ones, to say where a bad row is.
ROW = "_row"            # int64: the row's number in its file, counted from 0, a CSV's header not counted
INVALID = "_invalid"    # string: the text of a line that could not be parsed, else null

# Keys of a batch's schema metadata and of a field's metadata.
PART = b"part"          # of the schema: the number of the batch's part of a `Joined`, as text
FILE = b"file"          # of the schema: the file that the batch was read from
NOTES = b"notes"        # of the schema: JSON, a list of lines: uncertain guesses about the file
BAD_LINES = b"bad lines"  # of the schema of a table: JSON, a list of [file, row, text]: lines that could not be parsed
DISTINCT = b"tfrs_twotower: each id once"  # of the schema of a table of users or items that was checked before
UNREAD = b"unread"      # of the schema: JSON, the source's columns that are not read
ROWS = b"rows"          # of the schema: how many rows were read for the batch, also those that conditions left out
UNIT = b"unit"          # of the field `timestamp`: the unit of its numbers, or auto
SCALE = b"scale"        # of the field `weight`: "log" where it is to be log(1 + weight)
PARSE_AS = b"parse_as"  # of a text field: the type of its values: int64, double or timestamp

# Of a missing column.
_WAYS_OUT = {
    name: f" Name it: `--{name.replace('_', '-')} COLUMN`, in Python `Columns({name}=...)`."
    for name in (USER_ID, ITEM_ID, TIMESTAMP)
}
_WAYS_OUT[TIMESTAMP] += " A log without times: `--timestamp none`, in Python `Columns(timestamp=None)`."


class Source:
    """Base of the sources: Arrow data under the canonical names of `columns.py`, whose values `ingest` checks.

    A numeric `timestamp` is in seconds since 1970, unless the field's metadata gives another `unit`. A log without
    times has batches without a `timestamp`. A source that a recipe names is a frozen dataclass (`config`).

    Attributes:
      name: of the file or data set, for messages.
    """

    if TYPE_CHECKING:  # a subclass has it as a field or as a property

        @property
        def name(self) -> str: ...

    def table_name(self, what: str) -> str:
        """The name of the table of "users" or "items", for messages."""
        return f"{self.name} ({what})"

    def interactions(self) -> Iterator[pa.RecordBatch]:
        """The events, streamed."""
        raise NotImplementedError

    def expected_rows(self) -> int | None:
        """About how many rows have to be read for all events; None where only reading them could tell."""
        return None

    def shards(self) -> int:
        """How many parts of the events can be read apart. All of them, in their order, are `interactions`."""
        return 1

    def shard(self, number: int) -> Iterator[pa.RecordBatch]:
        """The events of one part, streamed."""
        return self.interactions()

    def sources(self) -> list[Source]:
        """Where the events came from, the oldest first: this source, or those that it was made of."""
        return [self]

    def users(self) -> pa.Table | None:
        """A table with one row per user, with `user_id` and features, or None."""
        return None

    def items(self) -> pa.Table | None:
        """A table with one row per item, with `item_id` and features, or None."""
        return None


@config
class Columns:
    """The names of the canonical columns in a source.

    Attributes:
      user_id, item_id: names in the source; the tables of users and items name their ids the same
      timestamp: name in the source, or None for a log without times; nothing then depends on an order
      event, weight, label, session: names in the source, or None where it has none. A label is true or above 0 if
        the user liked the item; any other label means shown and not liked, see `Shown`
      context: further columns of the events, kept under their own names, for example the price paid
      time_unit: the unit of numeric timestamps, which count from 1970 except for "calendar" (20231114, 20231114093000)
        and "excel" (days). "auto": detected by their size, with a note. Dates, times and ISO 8601 text need no unit;
        without a zone they are UTC.
      weight_scale: "log": an event weighs log(1 + weight), so that the hundredth play counts less than the first;
        "linear": the weight itself
    """

    user_id: str = USER_ID
    item_id: str = ITEM_ID
    timestamp: str | None = TIMESTAMP
    event: str | None = None
    weight: str | None = None
    label: str | None = None
    session: str | None = None
    context: tuple[str, ...] = ()
    time_unit: Literal["auto", "s", "ms", "us", "ns", "h", "d", "calendar", "excel"] = "auto"
    weight_scale: Literal["log", "linear"] = "log"

    def mapping(self) -> dict[str, str]:
        """{canonical name: name in the source} of the declared columns, context included."""
        fixed = (USER_ID, ITEM_ID, TIMESTAMP, EVENT, WEIGHT, LABEL, SESSION)
        named = {name: getattr(self, name) for name in fixed}
        named = {name: column for name, column in named.items() if column is not None}
        for column in self.context:
            if column in named:
                raise DataError(f"`context` has `{column}`, which is a fixed name. Declare it there.")
            named[column] = column
        return named


def with_said(
    table: pa.RecordBatch | pa.Table, notes: Iterable[str] = (), bad: Iterable[tuple[str, int, str]] = ()
) -> pa.RecordBatch | pa.Table:
    """The batch or table with notes and bad lines in its schema, for `notes_of` and `bad_lines`."""
    said = {NOTES: json.dumps(list(notes)).encode(), BAD_LINES: json.dumps(list(bad)).encode()}
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **said})


def notes_of(schema: pa.Schema) -> list[str]:
    """The notes that a batch or table brings."""
    return json.loads((schema.metadata or {}).get(NOTES, b"[]"))


def bad_lines(schema: pa.Schema) -> list[tuple[str, int, str]]:
    """[(file, row, text)] of a table's lines that could not be parsed."""
    return [tuple(line) for line in json.loads((schema.metadata or {}).get(BAD_LINES, b"[]"))]


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns errors of Arrow or the system about an unreadable file into a `DataError` with its path."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: holds bytes that are not UTF-8 text ({error}). Store it as UTF-8.") from error
    except (pa.ArrowException, OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        reason = str(error).rstrip(".")
        raise DataError(f"{path}: cannot be read: {reason}. Check that it is whole and of its kind.") from error


def check_columns(wanted: Mapping[str, str], present: Collection[str], where: str, hint: str = "") -> None:
    """Raises `DataError` if a column of `wanted` ({canonical name: name in the source}) is missing or comes twice.

    Args:
      present: the list of the source's names
      hint: a further sentence of the message, with a space before it
    """
    check_unique([column for column in present if column in wanted.values()], where)
    free = [column for column in present if column not in wanted.values()]
    for name, column in wanted.items():
        if column not in present:
            way_out = _WAYS_OUT.get(name, "")
            raise DataError(
                f"{where}: there is no column `{column}` (for {name}).{nearest(column, free)}{way_out}{hint}"
            )


def check_unique(names: Sequence[str], where: str) -> None:
    """Raises `DataError` if two columns have the same name."""
    for column in dict.fromkeys(names):
        if (n := names.count(column)) > 1:
            raise DataError(f"{where}: {n} columns are called `{column}`. Give each a name of its own, or keep one.")


def canonical(
    batch: pa.RecordBatch | pa.Table, columns: Columns, where: str, parse_as: Mapping[str, str] | None = None
) -> pa.RecordBatch | pa.Table:
    """A batch or table under canonical names.

    Args:
      batch: pa.RecordBatch or pa.Table with the source's column names; `_row` and `_invalid` are kept
      columns: Columns
      where: the file or data set, for messages
      parse_as: {source column: "int64", "double" or "timestamp"} for text that is read as another type
    """
    mapping = columns.mapping()
    check_columns(mapping, batch.schema.names, where)
    fields, arrays = [], []
    for name, column in mapping.items():
        metadata = {UNIT: columns.time_unit.encode()} if name == TIMESTAMP else {}
        if name == WEIGHT:
            metadata[SCALE] = columns.weight_scale.encode()
        if column in (parse_as or {}):
            metadata[PARSE_AS] = parse_as[column].encode()  # type: ignore[index]  # not None: it has the column
        array = batch.column(column)
        fields.append(pa.field(name, array.type, metadata=metadata))
        arrays.append(array)
    for name in (ROW, INVALID):
        if name in batch.schema.names:
            fields.append(batch.schema.field(name))
            arrays.append(batch.column(name))
    said = {key: value for key, value in (batch.schema.metadata or {}).items() if key in (NOTES, UNREAD, ROWS)}
    metadata = {**said, FILE: str(where).encode()}
    return type(batch).from_arrays(arrays, schema=pa.schema(fields, metadata=metadata))


def with_unread(
    batch: pa.RecordBatch | pa.Table, present: Iterable[str], read: Collection[str]
) -> pa.RecordBatch | pa.Table:
    """The batch with the names of the source's unread columns, for the notes of `ingest`."""
    names = json.dumps([name for name in present if name not in read]).encode()
    return batch.replace_schema_metadata({**(batch.schema.metadata or {}), UNREAD: names})


def entity_table(table: pa.Table, id_column: str, id_name: str, where: str) -> pa.Table:
    """A user or item table with its id column renamed to the canonical name and put first."""
    check_unique(table.column_names, where)
    check_columns({id_name: id_column}, table.column_names, where)
    if id_column != id_name and id_name in table.column_names:
        raise DataError(f"{where} has `{id_column}`, to be called `{id_name}`, and a `{id_name}` too.")
    others = [name for name in table.column_names if name != id_column]
    return table.select([id_column, *others]).rename_columns([id_name, *others])
