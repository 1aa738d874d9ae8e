"""CSV read as text in a stream, with the lines that cannot be parsed passed on instead of raised."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.csv

from tfrs_twotower.data.source import INVALID, ROW
from tfrs_twotower.errors import DataError

_BLOCK = 4 << 20


def header(path, delimiter):
    """The column names of a CSV file."""
    return list(inferred_types(path, delimiter))


def inferred_types(path, delimiter):
    """{column: Arrow type} as the first block of the file shows it."""
    with _open(path, delimiter, lambda row: "skip", pyarrow.csv.ConvertOptions()) as reader:
        return {field.name: field.type for field in reader.schema}


def read_lines(path, columns, delimiter, block=_BLOCK):
    """Yields pa.RecordBatch: `columns` as text (empty is null), `_row`, and `_invalid` with bad lines.

    Args:
      path: a CSV file with a header line
      columns: names to be read
      block: bytes read at a time
    """
    bad = []

    def keep(row):
        bad.append((row.number, row.text))
        return "skip"

    options = pyarrow.csv.ConvertOptions(
        include_columns=columns, column_types={name: pa.binary() for name in columns},
        null_values=[""], strings_can_be_null=True,
    )
    next_row = 0
    with _open(path, delimiter, keep, options, block) as reader:
        while True:
            batch = _next(reader, path)
            # Arrow counts rows from 1 with the header; the handler has seen all bad rows of this block.
            skipped = np.array(sorted(number - 2 for number, _ in bad), np.int64)
            if bad:
                yield _bad_lines(bad, columns)
                bad.clear()
            if batch is None:
                return
            rows = np.setdiff1d(np.arange(next_row, next_row + len(batch) + len(skipped)), skipped)[:len(batch)]
            next_row += len(batch) + len(skipped)
            yield _as_text(batch, columns, rows)


def _open(path, delimiter, handler, convert, block=_BLOCK):
    try:
        return pyarrow.csv.open_csv(
            path,
            # One thread: only then are bad rows numbered.
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=block),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, invalid_row_handler=handler),
            convert_options=convert,
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise DataError(f"{path}: not a CSV with a header line and the delimiter {delimiter!r}: {error}") from error


def _next(reader, path):
    try:
        return reader.read_next_batch()
    except StopIteration:
        return None
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: reading stopped: {error}") from error


def _bad_lines(bad, columns):
    """A batch of bad lines. An unclosed quote swallows many lines; each of them counts."""
    rows, texts = [], []
    for number, text in bad:
        lines = text.split("\n")
        rows += [number - 2] * len(lines)
        texts += lines
    arrays = [pa.nulls(len(rows), pa.string()) for _ in columns]
    return pa.RecordBatch.from_arrays(
        [*arrays, pa.array(rows, pa.int64()), pa.array(texts, pa.string())], names=[*columns, ROW, INVALID]
    )


def _as_text(batch, columns, rows):
    arrays, broken = [], pa.nulls(len(batch), pa.string())
    for name in columns:
        array = batch.column(name)
        try:
            arrays.append(array.cast(pa.string()))
        except pa.ArrowInvalid:
            texts = [_decoded(value) for value in array.to_pylist()]
            arrays.append(pa.array(texts, pa.string()))
            known = array.to_pylist()
            broken = pa.array(
                [repr(v) if t is None and v is not None else b for v, t, b in zip(known, texts, broken.to_pylist())],
                pa.string(),
            )
    return pa.RecordBatch.from_arrays([*arrays, pa.array(rows), broken], names=[*columns, ROW, INVALID])


def _decoded(value):
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
