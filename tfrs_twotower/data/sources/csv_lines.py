"""CSV files, streamed as columns of text. Lines that cannot be parsed are passed on, not raised.

Arrow splits a block in which each line is a record. In other blocks Python's `csv` finds the end of each record, so the
block size does not change the result. A quote that is never closed makes only its own line bad.
"""

from __future__ import annotations

import codecs
import collections
import csv
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.csv

from tfrs_twotower.data.source import INVALID, ROW
from tfrs_twotower.data.sources.layout import LARGEST, Layout, is_number
from tfrs_twotower.data.sources.opening import open_file

_BLOCK = 1 << 20
_STAND_IN = "\x1f"  # for a delimiter of more than one character, which Arrow cannot split by


def read_lines(
    path: str, columns: Sequence[str], layout: Layout, block: int = _BLOCK
) -> Iterator[pa.RecordBatch]:
    """Yields pa.RecordBatch: `columns` as text (empty is null), `_row`, and `_invalid` with bad lines.

    Args:
      path: a file of text
      columns: names to be read, all of them in `layout.names`
      layout: a `Layout`
      block: bytes read at a time
    """
    csv.field_size_limit(LARGEST)
    with open_file(path) as file:
        lines = _Lines(_blocks(file, layout.encoding, block))
        records = _Records(layout, columns)
        if layout.header:
            records.skip(lines)
        while (data := lines.take()) is not None:
            if records.are_plain(data):
                yield from records.split(data)
            else:
                lines.put_back(data.splitlines(keepends=True))
                yield records.parse(lines)


class _Records:
    """Parses records, and counts them from 0."""

    def __init__(self, layout: Layout, columns: Sequence[str]) -> None:
        self._layout, self._columns = layout, columns
        self._places = [layout.names.index(name) for name in columns]
        self._width = len(layout.names)
        self._row = 0

    def skip(self, lines: _Lines) -> None:
        """Skips the header."""
        while not (line := lines.next(more=True)).strip():
            pass
        self._fields(line, lines)  # type: ignore[arg-type]  # there is one: its names are the layout's

    def are_plain(self, data: bytes) -> bool:
        """Whether each line of these bytes (whole lines) is a record, with quotes only around whole fields."""
        if _STAND_IN.encode() in data or not is_utf8(data):
            return False
        return not self._layout.quoting or b'"' not in data or _are_closed(data, self._layout.delimiter)

    def split(self, data: bytes) -> Iterator[pa.RecordBatch]:
        """Yields a batch of plain records, and a batch of bad ones if there are any."""
        bad, delimiter = [], self._layout.delimiter
        if len(delimiter) > 1:
            data, delimiter = data.replace(delimiter.encode(), _STAND_IN.encode()), _STAND_IN

        def keep(row: pyarrow.csv.InvalidRow) -> str:
            bad.append((row.number - 1, row.text.replace(_STAND_IN, self._layout.delimiter)))
            return "skip"

        places = [str(place) for place in self._places]
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            # One thread: only then are bad rows numbered.
            pyarrow.csv.ReadOptions(use_threads=False, block_size=len(data) + 1,
                                    column_names=[str(i) for i in range(self._width)]),
            pyarrow.csv.ParseOptions(delimiter=delimiter, quote_char=self._layout.quoting and '"',
                                     invalid_row_handler=keep),
            pyarrow.csv.ConvertOptions(include_columns=places, column_types={place: pa.string() for place in places},
                                       null_values=[""], strings_can_be_null=True, check_utf8=False),
        ).combine_chunks()
        rows = np.arange(len(table) + len(bad))
        good = np.delete(rows, [row for row, _ in bad]) + self._row
        arrays = [table[place].combine_chunks() for place in places]
        yield text_batch(self._columns, arrays, good, pa.nulls(len(table), pa.string()))
        if bad:
            nothing = [pa.nulls(len(bad), pa.string()) for _ in places]
            numbers = np.array([row for row, _ in bad]) + self._row
            yield text_batch(self._columns, nothing, numbers, pa.array([text for _, text in bad], pa.string()))
        self._row += len(rows)

    def parse(self, lines: _Lines) -> pa.RecordBatch:
        """A batch of all the records that begin in the lines at hand."""
        first, rows, invalid = self._row, [], []
        while (line := lines.next()) is not None:
            if not line.strip(b"\r\n"):
                continue
            self._row += 1
            fields, text = self._fields(line, lines)
            wrong = text if fields is None or len(fields) != self._width else None
            values = [None] * len(self._places) if wrong is not None else [
                fields[i] or None for i in self._places  # type: ignore[index]  # None would be wrong
            ]
            if wrong is None and not text.isascii() and not is_utf8("".join(v or "" for v in values)):
                wrong = f"not UTF-8 (`--encoding`): {text.encode('utf-8', 'surrogateescape')!r}"
                values = [None] * len(values)
            rows.append(values)
            invalid.append(None if wrong is None else wrong.encode("utf-8", "backslashreplace").decode().rstrip("\r\n"))
        columns = zip(*rows) if rows else [()] * len(self._places)
        arrays = [pa.array(column, pa.string()) for column in columns]
        return text_batch(self._columns, arrays, np.arange(first, self._row), pa.array(invalid, pa.string()))

    def _fields(self, line: bytes, lines: _Lines) -> tuple[list[str] | None, str]:
        """(fields of the record that begins with this line or None, its text)."""
        text = line.decode("utf-8", "surrogateescape")
        if not self._layout.quoting or '"' not in text:
            return text.rstrip("\r\n").split(self._layout.delimiter), text
        taken = [text]
        try:
            fields = next(csv.reader(_feed(taken, lines), delimiter=self._layout.delimiter, strict=True))
        except csv.Error:
            fields = None
        if fields is not None and (len(taken) == 1 or not self._swallows(fields, taken)):
            return fields, "".join(taken)
        lines.put_back([later.encode("utf-8", "surrogateescape") for later in taken[1:]])
        return self._alone(text), text

    def _swallows(self, fields: list[str], taken: list[str]) -> bool:
        """Whether an unclosed quote swallowed lines that are records of their own.

        A line of quoted text may have as many delimiters as a record by accident, and its last line is followed by
        fields. These are no accident: a line between has numbers where all records have them; all of several such lines
        have as many fields as a record; the last line has numbers before the text's column.
        """
        if len(fields) != self._width:
            return True
        rows = [line.rstrip("\r\n").split(self._layout.delimiter) for line in taken[1:]]
        numbers = self._layout.numbers
        if not all(len(row) == self._width and all(is_number(row[i]) for i in numbers) for row in rows):
            return False
        place = len(next(csv.reader(taken[:1], delimiter=self._layout.delimiter))) - 1
        return any(i < place for i in numbers) or len(rows) > (1 if numbers else 2) and self._width > 2

    def _alone(self, text: str) -> list[str] | None:
        """The fields of a line by itself, as Arrow and spreadsheets read one; None where a quote stays open."""
        reader = csv.reader([text, "\n"], delimiter=self._layout.delimiter)
        try:
            fields = next(reader)
        except csv.Error:
            return None
        return fields if reader.line_num == 1 else None


class _Lines:
    """The lines of a file, as bytes with their line ends; lines can be put back."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._waiting = blocks, collections.deque()

    def take(self) -> bytes | None:
        """All buffered lines, or another block if there are none; None at the end."""
        if not self._waiting:
            return next(self._blocks, None)
        data = b"".join(self._waiting)
        self._waiting.clear()
        return data

    def next(self, more: bool = False) -> bytes | None:
        """A line, or None if none is buffered; with `more`, None only at the end of the file."""
        if not self._waiting and more:
            self._waiting.extend(next(self._blocks, b"").splitlines(keepends=True))
        return self._waiting.popleft() if self._waiting else None

    def put_back(self, lines: Sequence[bytes]) -> None:
        """Puts lines back, to be returned next."""
        self._waiting.extendleft(reversed(lines))


def _are_closed(data: bytes | np.ndarray, delimiter: str) -> bool:
    """Whether every quote starts or ends a field or is one of a pair inside, and each quoted field is within one line.
    """
    data = np.frombuffer(b"\n%s\n" % data, np.uint8)
    quotes = np.flatnonzero(data == ord('"'))
    opening, closing = quotes[::2], quotes[1::2]
    ends = np.isin(np.arange(256), [*b'\r\n"', *delimiter.encode()])
    if len(opening) != len(closing) or not (ends[data[opening - 1]].all() and ends[data[closing + 1]].all()):
        return False
    newlines = np.flatnonzero((data == ord("\n")) | (data == ord("\r")))
    return bool((newlines.searchsorted(opening) == newlines.searchsorted(closing)).all())


def _feed(taken: list[str], lines: _Lines) -> Iterator[str]:
    """Yields the text in `taken`, then line after line, which it adds to `taken`, up to a record's largest size."""
    yield taken[0]
    size = len(taken[0])
    while size < LARGEST and (line := lines.next(more=True)) is not None:
        taken.append(line.decode("utf-8", "surrogateescape"))
        size += len(line)
        yield taken[-1]


def _blocks(file: IO[bytes], encoding: str, size: int) -> Iterator[bytes]:
    """Yields the file as UTF-8, in whole lines."""
    decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)("surrogateescape")
    rest, begun = [], False
    while data := file.read(size):
        if decoder is not None:
            data = decoder.decode(data).encode("utf-8", "surrogateescape")
        if not begun:
            data, begun = data.removeprefix(codecs.BOM_UTF8), True
        cut = data.rfind(b"\n") + 1
        if cut:
            yield b"".join([*rest, data[:cut]])
            rest = []
        rest.append(data[cut:])
    if decoder is not None:
        rest.append(decoder.decode(b"", True).encode("utf-8", "surrogateescape"))
    if last := b"".join(rest):
        yield last


def text_batch(
    columns: Sequence[str], arrays: Sequence[pa.Array], rows: np.ndarray | Sequence[int], invalid: pa.Array
) -> pa.RecordBatch:
    """A batch of text columns, the rows' numbers, and the text of each line that could not be parsed, else null."""
    return pa.RecordBatch.from_arrays([*arrays, pa.array(rows, pa.int64()), invalid], names=[*columns, ROW, INVALID])


def is_utf8(data: bytes | str) -> bool:
    """Whether bytes, or text with lone surrogates for invalid bytes, are UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode() if isinstance(data, bytes) else data.encode()
    except UnicodeError:
        return False
    return True
