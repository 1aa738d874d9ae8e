"""The layout of a text file: its encoding, its delimiter and the names of its columns."""

from __future__ import annotations

import codecs
import collections
import csv
import dataclasses
import re
from collections.abc import Sequence
from typing import IO

import numpy as np

from tfrs_twotower.data.sources.opening import open_file, plain_ending
from tfrs_twotower.data.values import calendar
from tfrs_twotower.errors import DataError

DELIMITED, JSON, SEQUENCES = "csv", "json", "sequences"
FORMATS = (DELIMITED, JSON, SEQUENCES)

_DELIMITERS = ("::", "\t", ",", ";", "|")
LARGEST = 1 << 24  # characters of a record in quotes
_SAMPLE, _LINES = 1 << 16, 200  # bytes and lines that the detection reads
_BLOCK = 1 << 20
_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_WESTERN = "cp1252"  # Latin-1, with the characters that Windows added
_BESIDE_A_LETTER = re.compile(rb"[A-Za-z][\x80-\xff]|[\x80-\xff][A-Za-z]")
_TYPED = re.compile(r"^(.+):(token|float|token_seq|float_seq)$")
_OLDEST = 1e8  # seconds; a number of a headerless file that is smaller is no time, unless its digits are a date's
_DATE = re.compile(r"^\d{4}-\d\d-\d\d")


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layout of a text file, as `find_layout` detects it.

    Attributes:
      kind: one of `FORMATS`
      encoding: Python's name of it
      names: the columns
      delimiter: one or two characters; quoting: may a field be in double quotes?
      header: is the first record the names?
      numbers: positions of the columns that hold only numbers in the first lines
      types: {column: "string" or "double"} where the header declares them; lists: the columns of several values
      notes: a sentence for each uncertain guess
    """

    kind: str
    encoding: str
    names: tuple = ()
    delimiter: str = ","
    quoting: bool = True
    header: bool = True
    numbers: tuple = ()
    types: dict = dataclasses.field(default_factory=dict)
    lists: tuple = ()
    notes: tuple = ()


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The columns that are needed of a file, and the caller's settings.

    Attributes:
      ids: names of the id columns: (user, item) of events, one of a table; the first columns without a header
      time: name of the column of the times, or None where there is none
      names: column names of a file without header; delimiter, encoding, kind: None to detect them
    """

    ids: tuple
    time: str | None = None
    names: tuple | None = None
    delimiter: str | None = None
    encoding: str | None = None
    kind: str | None = None


def find_layout(path: str, wanted: Wanted) -> Layout:
    """The `Layout` of a file, detected from its first lines.

    Raises:
      DataError: it is empty, no text, or in no known encoding.
    """
    encoding, notes = (wanted.encoding, ()) if wanted.encoding else _encoding(path)
    lines = _first_lines(path, encoding)
    kind = wanted.kind or _kind(path, lines, wanted)
    if kind == JSON:
        return Layout(JSON, encoding, notes=notes)
    if kind == SEQUENCES:
        said = f"{path}: read as one line per user: the user, then their items in the order of time"
        names = (*wanted.ids[:2], *([wanted.time] if wanted.time else []))
        return Layout(
            SEQUENCES, encoding, names, wanted.delimiter,  # type: ignore[arg-type]  # None: at blanks
            header=False, notes=(*notes, said)
        )
    return _delimited(path, lines, wanted, encoding, notes)


def split_lines(data: bytes, encoding: str) -> list[str]:
    """The lines of bytes as text, without line ends; invalid bytes become lone surrogates."""
    return data.decode(encoding, "surrogateescape").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _first_lines(path: str, encoding: str) -> list[str]:
    with open_file(path) as file:
        data = file.read(_SAMPLE)
        whole = not file.read(1)
    try:
        lines = split_lines(data, encoding)
    except (LookupError, UnicodeError) as error:
        raise DataError(f"{path}: cannot be read as {encoding}: {error}. Name its encoding: `--encoding`.") from error
    text = "".join(lines)
    if sum(text.count(chr(code)) for code in range(9)) > max(len(text) // 100, 1):
        raise DataError(f"{path}: neither text nor Parquet. Save it as CSV, JSON lines or Parquet; "
                        "for UTF-16 without its byte order mark add `--encoding utf-16`.")
    lines[0] = lines[0].removeprefix("\ufeff")
    lines = lines if whole or len(lines) == 1 else lines[:-1]
    lines = [line for line in lines if line.strip()][:_LINES]
    if not lines:
        raise DataError(f"{path}: there is nothing in it.")
    return lines


def _kind(path: str, lines: Sequence[str], wanted: Wanted) -> str:
    first = lines[0].lstrip()
    if first[0] == "{" or first[0] == "[" and plain_ending(path) == ".json":
        return JSON
    if len(wanted.ids) > 1 and wanted.delimiter is None and not any(d in lines[0] for d in _DELIMITERS):
        lengths = {len(line.split()) for line in lines}
        if len(lengths) > 1 and min(lengths) > 1 and all(map(is_number, " ".join(lines).split())):
            return SEQUENCES
    return DELIMITED


def _delimited(
    path: str, lines: Sequence[str], wanted: Wanted, encoding: str, notes: tuple[str, ...]
) -> Layout:
    delimiter = wanted.delimiter or _delimiter(lines, wanted.ids)
    quoting = len(delimiter) == 1 and not all(map(_TYPED.match, lines[0].split(delimiter)))
    rows = _rows(lines, delimiter, quoting)
    names, header = tuple(rows[0]), True
    types: dict = {}
    lists: tuple = ()
    if not quoting and len(delimiter) == 1:
        typed = [_TYPED.match(name).groups() for name in names]
        names = tuple(name for name, _ in typed)
        types = {name: "double" if kind.startswith("float") else "string" for name, kind in typed}
        lists = tuple(name for name, kind in typed if kind.endswith("_seq"))
    elif wanted.names and wanted.names != names:
        names, header = wanted.names, False
    elif wanted.ids[0] not in names and any(map(is_number, names)):
        names, header = _names(rows, wanted), False
        shown = ", ".join(names if len(names) < 9 else (*names[:7], "…", names[-1]))
        hint = " (`--header` names others)" if len(wanted.ids) > 1 else ""
        notes = (*notes, f"{path}: no header; its columns are read as {shown}{hint}")
    body = [row for row in rows[header:] if len(row) == len(names)]
    numbers = tuple(i for i in range(len(names)) if body and all(is_number(row[i]) for row in body if row[i]))
    return Layout(DELIMITED, encoding, names, delimiter, quoting, header, numbers, types, lists, notes)


def _delimiter(lines: Sequence[str], ids: tuple[str, ...]) -> str:
    """The delimiter that splits most lines into as many fields as the first; of equals, the one with more fields."""
    found: dict = {}
    for delimiter in _DELIMITERS:
        first, *rest = _rows(lines, delimiter, len(delimiter) == 1)
        if len(first) > 1:
            alike = sum(len(row) == len(first) for row in rest) / max(len(rest), 1)
            found[delimiter] = (ids[0] in first, alike, len(first))
    if found:
        return max(found, key=lambda delimiter: found[delimiter])
    words = [line.split(" ") for line in lines]
    even = len(words[0]) > 1 and len({len(row) for row in words}) == 1
    return " " if even and (ids[0] in words[0] or any(map(is_number, words[0]))) else ","


def _rows(lines: Sequence[str], delimiter: str, quoting: bool) -> list[list[str]]:
    if not quoting:
        return [line.split(delimiter) for line in lines]
    rows = []
    csv.field_size_limit(LARGEST)
    for line in lines:
        try:
            rows.append(next(csv.reader([line], delimiter=delimiter)))
        except csv.Error:
            rows.append([line])
    return rows


def _names(rows: Sequence[Sequence[str]], wanted: Wanted) -> tuple[str, ...]:
    """Names for a file without header."""
    width = collections.Counter(map(len, rows)).most_common(1)[0][0]
    names = [wanted.ids[0], *(f"column_{i}" for i in range(2, width + 1))]
    if len(wanted.ids) == 1:
        return tuple(names)
    alike = [row for row in rows if len(row) == width]
    times = [i for i in range(2, width) if all(_is_time(row[i]) for row in alike)]
    names[1:2] = wanted.ids[1:2]
    if times and wanted.time:
        names[times[-1]] = wanted.time
    if width in (3, 4) and (rest := [i for i in range(2, width) if i not in times[-1:]]):
        names[rest[0]] = "rating"
    return tuple(names)


def is_number(text: str) -> bool:
    """Is the text a number?"""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_time(text: str) -> bool:
    if _DATE.match(text):
        return True
    return is_number(text) and (float(text) >= _OLDEST or bool(calendar(np.array([float(text)]))[1][0]))


def _encoding(path: str) -> tuple[str, tuple[str, ...]]:
    """(encoding, notes): UTF-8 if the file, or most of its non-ASCII lines, are valid UTF-8."""
    with open_file(path) as file:
        head = file.read(4)
        for bom, encoding in _BOMS.items():
            if head.startswith(bom):
                return encoding, ()
        file.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            for block in iter(lambda: file.read(_BLOCK), b""):
                decoder.decode(block)
            decoder.decode(b"", final=True)
            return "utf-8", ()
        except UnicodeDecodeError:
            file.seek(0)
            return _western(path, file)


def _western(path: str, file: IO[bytes]) -> tuple[str, tuple[str, ...]]:
    first, broken, western, good = 0, 0, 0, 0
    for number, line in enumerate(file, start=1):
        if line.isascii():
            continue
        try:
            line.decode()
            good += 1
        except UnicodeDecodeError:
            first = first or number
            broken += 1
            western += bool(_BESIDE_A_LETTER.search(line))
    if good >= broken or 2 * western <= broken:
        return "utf-8", ()
    return _WESTERN, (f"{path}: {broken:,} lines are not UTF-8, the first is line {first}: the file is read as "
                      f"Windows-1252, Latin-1's superset (`--encoding` names another)",)
