"""Parquet or CSV files as a source, read in a stream."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset

from tfrs_twotower.columns import ITEM_ID, TIMESTAMP, USER_ID
from tfrs_twotower.config import config
from tfrs_twotower.data.conditions import check_conditions, columns_of, rows_of
from tfrs_twotower.data.source import (
    ROW,
    Columns,
    canonical,
    check_columns,
    check_unique,
    entity_table,
    reading,
    with_unread,
)
from tfrs_twotower.data.sources.csv_lines import check_header, header, inferred_types, read_lines
from tfrs_twotower.errors import ConfigError, DataError, invalid

_BATCH = 1 << 16
_PARQUET, _CSV = (".parquet", ".pq"), (".csv", ".tsv", ".txt", ".gz", ".bz2")


@config
class Files:
    """Parquet or CSV: a file, a folder or a glob.

    A folder is searched through; its Parquet folders called `name=value` give a column.
    Ids in CSV are text. Other columns of a CSV get the type that their file's first megabyte shows, unless
    `types` says it; text that does not fit makes a bad row.

    Attributes:
      path: file, folder or glob of the events
      users_path, items_path: the same of the tables with features, or None
      columns: Columns
      delimiter: of CSV, one character
      types: ((context column of a CSV, "string" | "int64" | "double" | "timestamp"), ...)
      where: ((column, operator, value), ...) with == != < <= > >=: events for which one of these is not true
        are left out and not counted; ("x", "!=", None) asks for a value to be there
      positive: as `where`: events for which one of these is not true were shown and not liked, see `Shown`
    """

    path: str
    users_path: str | None = None
    items_path: str | None = None
    columns: Columns = Columns()
    delimiter: str = ","
    types: tuple[tuple[str, str], ...] = ()
    where: tuple[tuple[str, str, Any], ...] = ()
    positive: tuple[tuple[str, str, Any], ...] = ()

    def __post_init__(self):
        if len(self.delimiter) != 1:
            raise ConfigError(invalid("Files.delimiter", "be one character", self.delimiter, "A comma is usual."))

    @property
    def name(self):
        """The path of the events."""
        return self.path

    def interactions(self):
        """Yields pa.RecordBatch, file after file in the order of their names."""
        check_conditions(self.where, "where")
        check_conditions(self.positive, "positive")
        files, is_csv = _files("path", self.path)
        wanted = list(dict.fromkeys(self._wanted().values()))
        batches = self._csv(files, wanted) if is_csv else self._parquet(files, wanted)
        for file, batch, parse_as in batches:
            batch, columns = rows_of(batch, self.columns, self.where, self.positive, file)
            yield canonical(batch, columns, file, parse_as)

    def users(self):
        """pa.Table or None."""
        return self._entities("users_path", self.users_path, self.columns.user_id, USER_ID)

    def items(self):
        """pa.Table or None."""
        return self._entities("items_path", self.items_path, self.columns.item_id, ITEM_ID)

    def _wanted(self):
        return {**self.columns.mapping(), **{c: c for c in columns_of((*self.where, *self.positive))}}

    def _csv(self, files, wanted):
        for file in files:
            inferred = inferred_types(file, self.delimiter)
            check_header(self._wanted(), [name for name, _ in inferred], file, self.delimiter)
            parse_as = {**_parse_as(dict(inferred), self.columns.context), **dict(self.types)}
            parse_as = {column: kind for column, kind in parse_as.items() if kind != "string"}
            for batch in read_lines(file, wanted, self.delimiter):
                yield file, with_unread(batch, [name for name, _ in inferred], wanted), parse_as

    def _parquet(self, files, wanted):
        folder = self.path if Path(self.path).is_dir() else None
        with reading(self.path):
            dataset = pyarrow.dataset.dataset(
                files, format="parquet", partitioning="hive" if folder else None, partition_base_dir=folder
            )
        for fragment in dataset.get_fragments():
            file = fragment.path
            with reading(file):
                schema = _fragment_schema(fragment, dataset.schema)
                check_columns(self._wanted(), schema.names, file)
            start = 0
            for batch in _batches(fragment, schema, wanted):
                rows = pa.array(np.arange(start, start + len(batch)))
                start += len(batch)
                yield file, with_unread(batch.append_column(ROW, rows), schema.names, wanted), None

    def _entities(self, argument, path, id_column, id_name):
        if path is None:
            return None
        files, is_csv = _files(argument, path)
        if is_csv:
            tables = [_csv_table(file, id_column, id_name, self.delimiter) for file in files]
        else:
            tables = [_parquet_table(file) for file in files]
        for table, file in zip(tables, files):
            check_unique(table.column_names, file)
        try:
            table = pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowInvalid as error:
            raise DataError(f"{path}: its files do not agree: {error}") from error
        return entity_table(table, id_column, id_name, path)


def _files(argument, path):
    """(sorted paths, are they CSV)"""
    if Path(path).is_dir():
        files = [str(file) for file in Path(path).rglob("*") if file.is_file()]
    else:
        files = glob.glob(path, recursive=True)
    endings = _PARQUET + _CSV
    files = sorted(file for file in files if file.endswith(endings) and Path(file).name[0] not in "._")
    if not files:
        rule = f"name files that are there and end in {', '.join(endings)}"
        raise DataError(invalid(argument, rule, path, "There are none: check the path."))
    kinds = {file.endswith(_CSV) for file in files}
    if len(kinds) > 1:
        way_out = f"Use a glob: {path}/*.csv."
        raise DataError(invalid(argument, "name Parquet or CSV, not both", path, way_out))
    return files, kinds.pop()


def _fragment_schema(fragment, dataset_schema):
    """The file's own columns, and those that its folder's name gives."""
    own = fragment.physical_schema
    given = pyarrow.dataset.get_partition_keys(fragment.partition_expression)
    return pa.schema([*own, *(dataset_schema.field(name) for name in given if name not in own.names)])


def _batches(fragment, schema, columns):
    """Yields the fragment's record batches. Arrow trusts the bytes of a page: what it made of them is checked."""
    with reading(fragment.path):
        # A small read-ahead: else Arrow decodes whole files ahead of the reader.
        for batch in fragment.to_batches(
            schema=schema, columns=columns, batch_size=_BATCH, batch_readahead=1, fragment_readahead=0
        ):
            batch.validate(full=True)
            yield batch


def _parquet_table(file):
    with reading(file):
        table = pyarrow.dataset.dataset(file, format="parquet").to_table()
        table.validate(full=True)
        table.column_names  # raises where a name is no text
        return table


def _parse_as(inferred, context):
    """{column: what its text stands for} for the context columns that are not text."""
    kinds = {}
    for column in context:
        kind = inferred[column]
        if pa.types.is_integer(kind):
            kinds[column] = "int64"
        elif pa.types.is_floating(kind):
            kinds[column] = "double"
        elif pa.types.is_temporal(kind):
            kinds[column] = TIMESTAMP
    return kinds


def _csv_table(file, id_column, id_name, delimiter):
    check_header({id_name: id_column}, header(file, delimiter), file, delimiter)
    with reading(file):
        return pyarrow.csv.read_csv(
            file,
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={id_column: pa.string()},
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
