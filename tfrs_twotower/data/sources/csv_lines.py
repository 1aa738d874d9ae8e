"""CSV read as text in a stream, with the lines that cannot be parsed passed on instead of raised."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pyarrow as pa
import pyarrow.csv

from tfrs_twotower.data.source import INVALID, ROW, check_columns, reading
from tfrs_twotower.errors import DataError

_BLOCK = 1 << 20
_DELIMITERS = (",", ";", "\t", "|")


def header(path, delimiter):
    """The column names of a CSV file."""
    return [name for name, _ in inferred_types(path, delimiter)]


def inferred_types(path, delimiter):
    """[(column, Arrow type)] as the first block of the file shows them."""
    with reading(path), _open(path, delimiter, lambda row: "skip", pyarrow.csv.ConvertOptions()) as reader:
        return [(field.name, field.type) for field in reader.schema]


def check_header(wanted, present, path, delimiter):
    """`check_columns` of a CSV's header, with the delimiter that it seems to have when it was read as one field."""
    hint = ""
    if len(present) == 1:
        (line,) = present
        likely = max(_DELIMITERS, key=line.count)
        if likely in line:
            assignment = shlex.quote(f"source.delimiter={json.dumps(likely) if likely.isspace() else likely}")
            hint = (f" The header is one field with the delimiter {delimiter!r}: set `delimiter` to {likely!r}, "
                    f"on the command line `--set {assignment}`.")
    check_columns(wanted, present, path, hint)


def read_lines(path, columns, delimiter, block=_BLOCK):
    """Yields pa.RecordBatch: `columns` as text (empty is null), `_row`, and `_invalid` with bad lines.

    Args:
      path: a CSV file with a header line
      columns: names to be read
      block: bytes read at a time
    """
    bad = []

    def keep(row):
        # Arrow counts from 1 and counts the header.
        bad.append((row.number - 2, row.text))
        return "skip"

    options = pyarrow.csv.ConvertOptions(
        include_columns=columns, column_types={name: pa.binary() for name in columns},
        null_values=[""], strings_can_be_null=True,
    )
    next_row, skipped = 0, np.zeros(0, np.int64)
    with _open(path, delimiter, keep, options, block) as reader:
        while True:
            batch = _next(reader, path)
            # The handler has seen the bad rows up to here, and may have seen some further on.
            skipped = np.append(skipped, [row for row, _ in bad]).astype(np.int64)
            if bad:
                yield _bad_lines(bad, columns)
                bad.clear()
            if batch is None:
                return
            rows = np.arange(next_row, next_row + len(batch) + len(skipped))
            rows = np.setdiff1d(rows, skipped)[:len(batch)]
            next_row = rows[-1] + 1 if len(rows) else next_row
            skipped = skipped[skipped >= next_row]
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
        raise DataError(f"{path}: no CSV with a header and the delimiter {delimiter!r}: {error}") from error


def _next(reader, path):
    with reading(path):
        try:
            return reader.read_next_batch()
        except StopIteration:
            return None


def _bad_lines(bad, columns):
    """A batch of bad lines. An unclosed quote swallows many lines; each of them counts."""
    rows, texts = [], []
    for row, text in bad:
        lines = text.split("\n")
        rows += [row] * len(lines)
        texts += lines
    arrays = [pa.nulls(len(rows), pa.string()) for _ in columns]
    return pa.RecordBatch.from_arrays(
        [*arrays, pa.array(rows, pa.int64()), pa.array(texts, pa.string())], names=[*columns, ROW, INVALID]
    )


def _as_text(batch, columns, rows):
    arrays: list[pa.Array] = []
    broken: list[str | None] = [None] * len(batch)
    for name in columns:
        array = batch.column(name)
        try:
            arrays.append(array.cast(pa.string()))
        except pa.ArrowInvalid:
            texts = [_decoded(value) for value in array.to_pylist()]
            for row, value in enumerate(array.to_pylist()):
                if value is not None and texts[row] is None:
                    broken[row] = f"not UTF-8: {value!r}"
            arrays.append(pa.array(texts, pa.string()))
    invalid = pa.array(broken, pa.string())
    return pa.RecordBatch.from_arrays([*arrays, pa.array(rows), invalid], names=[*columns, ROW, INVALID])


def _decoded(value):
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
