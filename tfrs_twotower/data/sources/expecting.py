"""About how many rows files have, told by the largest of them: for the time left of a bar."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pyarrow.parquet as pq

from tfrs_twotower.data.source import reading
from tfrs_twotower.data.sources.addresses import is_address, place
from tfrs_twotower.data.sources.opening import open_streams

_SAMPLE = 1 << 20  # bytes


def rows_of_parquet(files: Sequence[str]) -> int | None:
    """As many for each byte of the files as the largest of them says that it has."""
    sizes = _sizes(files)
    largest = max(sizes, key=sizes.__getitem__)
    with reading(largest), open_streams(largest) as (packed, _), pq.ParquetFile(packed) as file:
        return _of_all(file.metadata.num_rows, sizes[largest], sizes)


def rows_of_text(files: Sequence[str], encoding: str, mark: str) -> int | None:
    """As many for each byte of the files as there are marks in the first megabyte of the largest of them, unpacked.

    Args:
      files: their paths
      encoding: of the files
      mark: a text that each row has once, as the end of a line
    """
    sizes = _sizes(files)
    largest = max(sizes, key=sizes.__getitem__)
    with open_streams(largest) as (packed, unpacked):
        text = unpacked.read(_SAMPLE).decode(encoding, "ignore")
        return _of_all(text.count(mark), packed.tell(), sizes)


def _sizes(files: Sequence[str]) -> dict[str, int]:
    """{file: its bytes, packed as it may be}; 0 for one file of several in an archive."""
    if is_address(files[0]):
        system, paths = place(files[0])[0], [place(file)[1] for file in files]
        return {file: info.size for file, info in zip(files, system.get_file_info(paths))}
    return {file: os.path.getsize(file) if os.path.exists(file) else 0 for file in files}


def _of_all(rows: int, read: int, sizes: dict[str, int]) -> int | None:
    """The rows of all files, if so many are in so many of their bytes; None if that cannot be told."""
    return round(rows / read * sum(sizes.values())) or None if read else None
