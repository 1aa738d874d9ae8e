"""Files as a source, read in a stream: Parquet, CSV and its kin, JSON lines."""

from __future__ import annotations

import codecs
import dataclasses
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from pyarrow.fs import FileType

from tfrs_twotower.columns import ITEM_ID, TIMESTAMP, USER_ID
from tfrs_twotower.configuration import config
from tfrs_twotower.data import values
from tfrs_twotower.data.conditions import check_conditions, columns_of, rows_of
from tfrs_twotower.data.source import (
    INVALID,
    ROW,
    ROWS,
    Columns,
    Source,
    canonical,
    check_columns,
    check_unique,
    entity_table,
    reading,
    with_said,
    with_unread,
)
from tfrs_twotower.data.sources import cells
from tfrs_twotower.data.sources.addresses import is_address, place
from tfrs_twotower.data.sources.csv_lines import read_lines
from tfrs_twotower.data.sources.expecting import rows_of_parquet, rows_of_text
from tfrs_twotower.data.sources.json_lines import json_names, read_json, read_sequences
from tfrs_twotower.data.sources.layout import DELIMITED, FORMATS, JSON, SEQUENCES, Layout, Wanted, find_layout
from tfrs_twotower.data.sources.opening import data_files
from tfrs_twotower.data.sources.parquet import fragment_schema, parquet_table, read_batches
from tfrs_twotower.errors import ConfigError, DataError, invalid, nearest

_READERS: dict[str, Callable[[str, Sequence[str], Layout], Iterator[pa.RecordBatch]]] = {
    DELIMITED: read_lines, JSON: read_json, SEQUENCES: read_sequences
}
_DELIMITERS = (",", ";", "\t", "|")
_PARSED = ("int64", "double", "timestamp")
_INDEX = "__index_level_0__"  # a frame's index, as pandas writes it; no feature


@config
class Files(Source):
    """Parquet, CSV, JSON lines, or one line per user: a file, a folder or a glob, here or at an address.

    Text may be compressed by gzip, bzip2, xz or zip. Folders are searched recursively; Parquet folders called
    `name=value` give a column. The layout of a text file (delimiter, header, encoding) is detected, see docs/files.md;
    uncertain guesses are notes of `ingest`. Ids in text files are text. Other columns get the type that fits all their
    values, or the one in `types`. Text that does not fit it makes a bad row of the log, and a missing value of a table.
    In tables, cells of several values become lists.

    Attributes:
      path: file, folder or glob of the events; archive.zip/name is one file of an archive. Also an address of object
        storage, HDFS, or another file system of fsspec: s3://bucket/log, hdfs://host:8020/log, gs://bucket/*.parquet
      users_path, items_path: the same for the tables with features, or None
      columns: Columns
      delimiter: of the fields in all files; None: detected
      types: ((column of a text file, "string" | "int64" | "double" | "timestamp"), ...)
      where: ((column, operator, value), ...) with == != < <= > >=: only events that fulfil all of these are kept and
        counted; ("x", "!=", None) drops events without a value
      positive: as `where`: events that do not fulfil all of these were shown and not liked, see `Shown`
      format: of the events: "csv" (any delimiter), "json" (an object per line, or a list of them), "sequences" (lines
        `user item item …`, oldest first; an event's time is then its position in the line); None: detected
      encoding: Python's name of the files' encoding; None: UTF-8, or detected
      header: the column names of events without a header; None: detected
      skip: columns of events and tables that are not read
      separators: ((column of a table, the separator of values in its cells, "" where a cell is one value), ...). In
        other columns lists as JSON writes them, and categories such as A|B, are detected
    """

    path: str
    users_path: str | None = None
    items_path: str | None = None
    columns: Columns = Columns()
    delimiter: str | None = None
    types: tuple[tuple[str, str], ...] = ()
    where: tuple[tuple[str, str, Any], ...] = ()
    positive: tuple[tuple[str, str, Any], ...] = ()
    format: str | None = None
    encoding: str | None = None
    header: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()
    separators: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.delimiter is not None and len(self.delimiter) != 1 and self.delimiter != "::":
            raise ConfigError(invalid("Files.delimiter", "be one character or ::", self.delimiter, "A comma is usual."))
        if self.format not in (None, *FORMATS):
            raise ConfigError(f"`Files.format` cannot be {self.format!r}." + nearest(self.format, FORMATS))
        try:
            codecs.lookup(self.encoding or "utf-8")
        except LookupError:
            way_out = "On Windows it is cp1252, in many old files latin-1."
            raise ConfigError(
                invalid("Files.encoding", "be an encoding that Python knows", self.encoding, way_out)
            ) from None

    @property
    def name(self) -> str:
        """The path of the events."""
        return self.path

    def table_name(self, what: str) -> str:
        """The table's path and what it holds."""
        return f"{getattr(self, what + '_path') or self.path} ({what})"

    def interactions(self) -> Iterator[pa.RecordBatch]:
        """Yields pa.RecordBatch, file after file in the order of their names."""
        return self._read(slice(None))

    def expected_rows(self) -> int | None:
        """About how many rows the files have; those of a text are told by its first megabyte."""
        files, is_parquet = data_files("path", self.path)
        if is_parquet:
            return rows_of_parquet(files)
        layout = self._layout(files[0])
        marks = {DELIMITED: "\n", JSON: json.dumps(self.columns.user_id), SEQUENCES: layout.delimiter or " "}
        return rows_of_text(files, layout.encoding, marks[layout.kind])

    def shards(self) -> int:
        """The number of files."""
        return len(data_files("path", self.path)[0])

    def shard(self, number: int) -> Iterator[pa.RecordBatch]:
        """Yields pa.RecordBatch of one file."""
        return self._read(slice(number, number + 1))

    def _read(self, chosen: slice) -> Iterator[pa.RecordBatch]:
        check_conditions(self.where, "where")
        check_conditions(self.positive, "positive")
        files, is_parquet = data_files("path", self.path)
        wanted = list(dict.fromkeys(self._wanted().values()))
        batches = self._parquet(files, chosen, wanted) if is_parquet else self._text(files[chosen], wanted)
        for file, batch, columns, parse_as in batches:
            batch, columns = rows_of(batch, columns, self.where, self.positive, file)
            yield canonical(batch, columns, file, parse_as)

    def users(self) -> pa.Table | None:
        """pa.Table or None."""
        return self._entities("users_path", self.users_path, self.columns.user_id, USER_ID)

    def items(self) -> pa.Table | None:
        """pa.Table or None."""
        return self._entities("items_path", self.items_path, self.columns.item_id, ITEM_ID)

    def _wanted(self) -> dict[str, str]:
        return {**self.columns.mapping(), **{c: c for c in columns_of((*self.where, *self.positive))}}

    def _text(
        self, files: Sequence[str], wanted: Sequence[str]
    ) -> Iterator[tuple[str, pa.RecordBatch, Columns, dict[str, str] | None]]:
        for file in files:
            layout = self._layout(file)
            present = _names(file, layout)
            _check_header(self._wanted(), present, file, layout)
            read = _READERS[layout.kind]
            parse_as = self._parse_as(file, layout, read)
            # The times of sequences are positions.
            columns = dataclasses.replace(self.columns, time_unit="s") if layout.kind == SEQUENCES else self.columns
            for batch in read(file, wanted, layout):
                yield file, self._with_unread(with_said(batch, layout.notes), present), columns, parse_as

    def _layout(self, file: str) -> Layout:
        ids, names = (self.columns.user_id, self.columns.item_id), self.columns.mapping()
        return find_layout(
            file, Wanted(ids, names.get(TIMESTAMP), self.header, self.delimiter, self.encoding, self.format)
        )

    def _with_unread(self, batch: pa.RecordBatch, present: Sequence[str]) -> pa.RecordBatch:
        batch = with_unread(batch, present, (*self._wanted().values(), *self.skip, _INDEX))
        return batch.replace_schema_metadata({**batch.schema.metadata, ROWS: str(len(batch)).encode()})

    def _parse_as(
        self, file: str, layout: Layout, read: Callable[[str, Sequence[str], Layout], Iterator[pa.RecordBatch]]
    ) -> dict[str, str]:
        """{column: type} of the context columns that are not text, by the values of the whole file."""
        declared = {**layout.types, **dict(self.types)}
        kinds = {column: {declared[column]} if column in declared else set() for column in self.columns.context}
        if unknown := [column for column in kinds if column not in declared]:
            for batch in read(file, unknown, layout):
                for column in unknown:
                    kinds[column].add(cells.kind_of(batch.column(column)))
        found = {column: cells.widest(kind) for column, kind in kinds.items()}
        of_others = {column: kind for column, kind in self.types if column not in found}
        return {column: kind for column, kind in {**found, **of_others}.items() if kind in _PARSED}

    def _parquet(
        self, files: Sequence[str], chosen: slice, wanted: Sequence[str]
    ) -> Iterator[tuple[str, pa.RecordBatch, Columns, dict[str, str] | None]]:
        with reading(self.path):
            system, folder = place(self.path) if is_address(self.path) else (None, self.path)
            inner = [place(file)[1] for file in files] if system else files
            hive = system.get_file_info(folder).type == FileType.Directory if system else Path(folder).is_dir()
            dataset = pyarrow.dataset.dataset(
                inner, filesystem=system, format="parquet", partitioning="hive" if hive else None,
                partition_base_dir=folder if hive else None,
            )
        for fragment in [*dataset.get_fragments()][chosen]:
            file = fragment.path
            with reading(file):
                schema = fragment_schema(fragment, dataset.schema)
                check_columns(self._wanted(), schema.names, file)
            start = 0
            for batch in read_batches(fragment, schema, wanted):
                rows = pa.array(np.arange(start, start + len(batch)))
                start += len(batch)
                yield file, self._with_unread(batch.append_column(ROW, rows), schema.names), self.columns, None

    def _entities(self, argument: str, path: str | None, id_column: str, id_name: str) -> pa.Table | None:
        if path is None:
            return None
        files, is_parquet = data_files(argument, path)
        tables, notes, bad = [], [], []
        for file in files:
            if is_parquet:
                table = parquet_table(file)
            else:
                table = self._text_table(file, id_column, id_name, notes, bad)
            check_unique(table.column_names, file)
            tables.append(table.drop_columns([c for c in table.column_names if c == _INDEX or c in self.skip]))
        try:
            table = pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowInvalid as error:
            raise DataError(f"{path}: its files do not agree: {error}") from error
        table = entity_table(table, id_column, id_name, path)
        table, found = cells.split_cells(table, id_name, dict(self.separators), path)
        return with_said(table, [*notes, *found], bad)

    def _text_table(
        self, file: str, id_column: str, id_name: str, notes: list[str], bad: list[tuple[str, int, str]]
    ) -> pa.Table:
        """A table of users or items, typed; adds to `notes` and `bad`."""
        layout = find_layout(file, Wanted((id_column,), None, None, self.delimiter, self.encoding))
        notes += layout.notes
        names = _names(file, layout, most=None)
        check_unique(list(names), file)
        _check_header({id_name: id_column}, names, file, layout)
        names = [name for name in names if name not in self.skip or name == id_column]
        batches = list(_READERS[layout.kind](file, names, layout))
        table = pa.Table.from_batches(batches) if batches else pa.table({name: pa.nulls(0, pa.string()) for name in
                                                                         (*names, ROW, INVALID)})
        broken = table.filter(pc.is_valid(table[INVALID]))
        bad += [(file, row, text) for row, text in zip(broken[ROW].to_pylist(), broken[INVALID].to_pylist())]
        table = table.filter(pc.is_null(table[INVALID])).select(names)
        declared = {**layout.types, **dict(self.types), id_column: "string"}
        columns = {}
        for name in names:
            kind = "string" if name in layout.lists else declared.get(name)
            columns[name] = self._typed(table[name], kind, f"{file}: column `{name}`", notes, name == id_column)
            if name in layout.lists and dict(self.separators).get(name) != "":
                of_numbers = layout.types[name] == "double"
                columns[name] = cells.split(columns[name], " ", pa.float64() if of_numbers else pa.string())
        return pa.table(columns)

    def _typed(
        self, array: pa.Array | pa.ChunkedArray, kind: str | None, label: str, notes: list[str], is_id: bool
    ) -> pa.Array | pa.ChunkedArray:
        if is_id:
            return array
        if kind in _PARSED:
            array, wrong = values.parse_text(array, kind, label)
            if wrong.any():
                notes.append(f"{label}: {wrong.sum():,} values are no {kind} and count as missing")
            return array
        return cells.typed(array, kind)


def _names(file: str, layout: Layout, most: int | None = 1000) -> Sequence[str]:
    return json_names(file, layout, most) if layout.kind == JSON else layout.names


def _check_header(wanted: Mapping[str, str], present: Sequence[str], path: str, layout: Layout) -> None:
    """`check_columns`; its error has a hint if the file seems to have no header or another delimiter."""
    hint = ""
    if len(present) == 1 and layout.kind == DELIMITED:
        (line,) = present
        likely = max(_DELIMITERS, key=line.count)
        if likely in line:
            assignment = shlex.quote(f"source.delimiter={json.dumps(likely) if likely.isspace() else likely}")
            hint = (f" The header is one field with the delimiter {layout.delimiter!r}: set `delimiter` to {likely!r}, "
                    f"on the command line `--set {assignment}`.")
    elif layout.kind == DELIMITED and layout.header:
        hint = " A file without a header: name its columns by `--header`, in Python `Files(header=...)`."
    check_columns(wanted, list(present), path, hint)
