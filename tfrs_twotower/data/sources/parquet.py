"""Parquet files, read as batches and tables whose bytes are checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.dataset

from tfrs_twotower.data.source import reading
from tfrs_twotower.data.sources.addresses import is_address, place

_BATCH = 1 << 16


def fragment_schema(fragment: pyarrow.dataset.ParquetFileFragment, dataset_schema: pa.Schema) -> pa.Schema:
    """The file's own columns, and those that its folder's name gives."""
    own = fragment.physical_schema
    given = pyarrow.dataset.get_partition_keys(fragment.partition_expression)
    return pa.schema([*own, *(dataset_schema.field(name) for name in given if name not in own.names)])


def read_batches(
    fragment: pyarrow.dataset.ParquetFileFragment, schema: pa.Schema, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yields the fragment's record batches. Arrow trusts the bytes of a page, so the batches are checked."""
    with reading(fragment.path):
        # A small read-ahead: else Arrow decodes whole files ahead of the reader.
        for batch in fragment.to_batches(
            schema=schema, columns=columns, batch_size=_BATCH, batch_readahead=1, fragment_readahead=0
        ):
            batch.validate(full=True)
            yield batch


def parquet_table(file: str) -> pa.Table:
    """A whole file."""
    with reading(file):
        system, inner = place(file) if is_address(file) else (None, file)
        table = pyarrow.dataset.dataset(inner, filesystem=system, format="parquet").to_table()
        table.validate(full=True)
        table.column_names  # raises where a name is no text
        return table
