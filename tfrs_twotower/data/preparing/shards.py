"""The rows that a `Reader` accepts, as Parquet files for an engine's SQL.

Their columns have plain names, because SQL does not tell `Price` from `price` and has words of its own.
"""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_twotower.data.checking import Accepted, Reader
from tfrs_twotower.errors import DataError

_ROWS, _BYTES = 1 << 18, 1 << 24  # of a row group, at most about
_PLACES = 1 << 40  # rows that a shard may have
_CONTEXT = "c_"


@dataclasses.dataclass
class Spilled:
    """What became a shard's files. A place orders the rows as the source has them, over all shards.

    Attributes:
      first: place of the first row; the others follow
      rows: all; liked: those with a label above 0
      least, most: of all labels
    """

    first: int
    rows: int = 0
    liked: int = 0
    least: float = np.inf
    most: float = -np.inf


def spill(reader: Reader, batches: Iterable[pa.RecordBatch], folder: Path, shard: int) -> Spilled:
    """Writes the good rows of the batches. If the same shard is written twice, the files are the same.

    Args:
      folder: there; shard: the number of the source's shard that the batches are
    """
    spilled = Spilled(shard * _PLACES)
    waiting: list[pa.Table] = []
    writer = _Writer(folder, shard)
    for batch in batches:
        rows = reader.read(batch)
        if not len(rows):
            continue
        table = _table(rows, spilled.first + spilled.rows)
        if waiting and not table.schema.equals(waiting[0].schema):
            writer.write(waiting)
            waiting = []
        waiting.append(table)
        if sum(map(len, waiting)) >= _ROWS or sum(table.nbytes for table in waiting) >= _BYTES:
            writer.write(waiting)
            waiting = []
        spilled.rows += len(rows)
        spilled.liked += int(np.count_nonzero(rows.label > 0))
        spilled.least, spilled.most = min(spilled.least, rows.label.min()), max(spilled.most, rows.label.max())
    writer.write(waiting)
    writer.close()
    return spilled


def _table(rows: Accepted, first: int) -> pa.Table:
    n = len(rows)
    columns = {
        "uid": rows.user, "iid": rows.item, "seconds": rows.timestamp, "weight": rows.weight, "liked": rows.label > 0,
        "part": np.full(n, rows.part, np.int32), "place": np.arange(first, first + n),
    }
    context = {} if rows.context is None else {plain_name(c): rows.context[c] for c in rows.context.column_names}
    return pa.table({**columns, **context})


def plain_name(column: str) -> str:
    """The name of a context column in SQL: letters and digits that differ where the names differ."""
    return _CONTEXT + column.encode().hex()


class _Writer:
    """Writes tables to a shard's files: another one where the types of the columns change."""

    def __init__(self, folder: Path, shard: int) -> None:
        self._folder, self._shard, self._files = folder, shard, 0
        self._writer: pq.ParquetWriter | None = None
        self._aside = ""

    def write(self, tables: list[pa.Table]) -> None:
        if not tables:
            return
        table = pa.concat_tables(tables)
        if self._writer is None or not self._writer.schema.equals(table.schema):
            self.close()
            self._aside = f"{self._folder}/.{uuid.uuid4().hex}"  # two attempts at a shard may overlap
            self._writer = pq.ParquetWriter(self._aside, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            os.replace(self._aside, self._folder / f"{self._shard:06}-{self._files:06}.parquet")
            self._files += 1


def agreed(folder: Path, name: str) -> tuple[list[str], pa.Schema]:
    """(the files of all shards, the schema that all of them have now).

    Files with narrower types, or without a context column, are written again.

    Raises:
      DataError: a column has two types that cannot be one; `name` is that of the source.
    """
    paths = sorted(folder.glob("*.parquet"))
    schemas = [pq.read_schema(path) for path in paths]
    try:
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"{name}: a context column changes its type between files: {error}") from error
    for path, own in zip(paths, schemas):
        if not own.equals(schema):
            _rewrite(path, schema)
    return [str(path) for path in paths], schema


def _rewrite(path: Path, schema: pa.Schema) -> None:
    aside = f"{path}.writing"
    with pq.ParquetFile(path) as file, pq.ParquetWriter(aside, schema) as writer:
        for batch in file.iter_batches(_ROWS):
            table = pa.Table.from_batches([batch])
            columns = [table[f.name].cast(f.type) if f.name in table.column_names else pa.nulls(len(table), f.type)
                       for f in schema]
            writer.write_table(pa.table(columns, schema=schema))
    os.replace(aside, path)


def context_fields(schema: pa.Schema) -> list[pa.Field]:
    """The context columns of the shards' schema, by their own names."""
    return [pa.field(bytes.fromhex(field.name.removeprefix(_CONTEXT)).decode(), _plain(field.type))
            for field in schema if field.name.startswith(_CONTEXT)]


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type without the names that Parquet gives the values of lists: they are part of a log's fingerprint."""
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    return pa.large_list(_plain(kind.value_type)) if pa.types.is_large_list(kind) else kind
