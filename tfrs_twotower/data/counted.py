"""A bar for the rows of a source while they are read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from tfrs_twotower.data.source import ROWS, Source
from tfrs_twotower.errors import DataError
from tfrs_twotower.progress import bar


@contextlib.contextmanager
def counted(source: Source, batches: Iterable[pa.RecordBatch]) -> Iterator[Iterator[pa.RecordBatch]]:
    """Gives the batches; a bar counts their rows as they are taken, and tells the time left where the source can."""
    expected = None
    with contextlib.suppress(DataError):  # whatever cannot be read is an error of the reading
        expected = source.expected_rows()
    with bar("Reading the log", expected, "rows") as advance:
        yield _taken(batches, advance)


def _taken(batches: Iterable[pa.RecordBatch], advance: Callable[..., None]) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in batches:
        yield batch
        read = int((batch.schema.metadata or {}).get(ROWS, len(batch)))
        rows += read
        advance(read, f"{rows:,} rows")
