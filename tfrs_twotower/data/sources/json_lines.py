"""JSON lines, and one line per user, read as columns of text, as `csv_lines` reads CSV."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa

from tfrs_twotower.data.sources.csv_lines import is_utf8, text_batch
from tfrs_twotower.data.sources.layout import Layout
from tfrs_twotower.data.sources.opening import open_file
from tfrs_twotower.errors import DataError

_ROWS = 1 << 14
_LOOKED_AT = 1000  # objects


def json_names(path: str, layout: Layout, most: int | None = _LOOKED_AT) -> tuple[str, ...]:
    """The names in the first objects of a file.

    Raises:
      DataError: it does not begin with one object per line, and is no list of objects.
    """
    names: dict = {}
    with open_file(path) as file:
        for number, (value, text) in enumerate(itertools.islice(_objects(file, path, layout.encoding), most)):
            if value is None and not number:
                raise DataError(f"{path}: holds no JSON object per line, but {text[:80]!r}. Write one object per line, "
                                "or a list of objects.")
            names.update(dict.fromkeys(value or ()))
    return tuple(names)


def read_json(path: str, columns: Sequence[str], layout: Layout) -> Iterator[pa.RecordBatch]:
    """Yields pa.RecordBatch as `csv_lines.read_lines`: lists and objects as JSON text, numbers as digits."""
    row = 0
    with open_file(path) as file:
        objects = _objects(file, path, layout.encoding)
        while chunk := list(itertools.islice(objects, _ROWS)):
            cells = [[_text(value.get(name)) for name in columns] if value else None for value, _ in chunk]
            good = [found is not None and all(cell is None or is_utf8(cell) for cell in found) for found in cells]
            nothing = [None] * len(columns)
            rows_of = [found if found and ok else nothing for found, ok in zip(cells, good)]
            arrays = [pa.array(column, pa.string()) for column in zip(*rows_of)]
            invalid = [None if ok else text.encode("utf-8", "backslashreplace").decode()
                       for (_, text), ok in zip(chunk, good)]
            rows = np.arange(row, row + len(chunk))
            row += len(chunk)
            yield text_batch(columns, arrays, rows, pa.array(invalid, pa.string()))


def read_sequences(path: str, columns: Sequence[str], layout: Layout) -> Iterator[pa.RecordBatch]:
    """Yields pa.RecordBatch as `csv_lines.read_lines`, of lines `user item item …`.

    Each item is an event; its time is its position in the line, from 0.
    """
    events: list[tuple[Any, ...]]  # (user, item, position, row)
    bad: list[tuple[Any, ...]]  # (row, text)
    with open_file(path) as file:
        lines = enumerate(line for line in _text_lines(file, layout.encoding) if line.strip())
        while chunk := list(itertools.islice(lines, _ROWS)):
            events, bad = [], []
            for row, line in chunk:
                user, *items = line.split(layout.delimiter)
                if items and is_utf8(line):
                    events += [(user, item.strip(), str(place), row) for place, item in enumerate(items)]
                else:
                    bad.append((row, line.encode("utf-8", "backslashreplace").decode().strip()))
            places = [layout.names.index(name) for name in columns]
            for found, invalid in ((events, None), (bad, [text for _, text in bad])):
                if found:
                    arrays = [pa.array([None if invalid else event[i] or None for event in found], pa.string())
                              for i in places]
                    rows = [event[0 if invalid else -1] for event in found]
                    yield text_batch(columns, arrays, rows, pa.array(invalid or [None] * len(found), pa.string()))


def _objects(
    file: IO[bytes], path: str, encoding: str
) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """Yields (an object or None, its text)."""
    lines = (line for line in _text_lines(file, encoding) if line.strip())
    first = next(lines, "")
    if first.lstrip().startswith("["):
        values = _loaded("".join([first, *lines]))
        if not isinstance(values, list):
            raise DataError(f"{path}: no list of JSON objects. Write it anew, or one object per line.")
        yield from ((value if isinstance(value, dict) else None, json.dumps(value)) for value in values)
        return
    for line in itertools.chain([first], lines):
        value = _loaded(line)
        yield (value if isinstance(value, dict) else None), line.strip()


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _text_lines(file: IO[bytes], encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, "utf-8-sig" if encoding == "utf-8" else encoding, errors="surrogateescape")


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    return json.dumps(value, ensure_ascii=False)
