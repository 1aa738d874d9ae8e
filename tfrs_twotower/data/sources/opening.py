"""The files that a path names, each as a stream of decompressed bytes."""

from __future__ import annotations

import bz2
import contextlib
import glob
import gzip
import lzma
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from tfrs_twotower.data.source import reading
from tfrs_twotower.data.sources.addresses import files_at, is_address, place
from tfrs_twotower.errors import DataError, invalid

_PARQUET = (".parquet", ".pq")
_PACKED = (".gz", ".bz2", ".xz", ".zip")
_TEXT = (".csv", ".tsv", ".txt", ".dat", ".data", ".inter", ".user", ".item", *_PACKED)
_JSON = (".jsonl", ".ndjson", ".json")
_ROLES = {"path": ".inter", "users_path": ".user", "items_path": ".item"}  # of one folder in RecBole's way
_FOREIGN = {
    ".xlsx": "an Excel workbook", ".xls": "an Excel workbook", ".ods": "a workbook", ".feather": "Feather",
    ".arrow": "Arrow IPC", ".orc": "ORC", ".avro": "Avro", ".pkl": "a pickle", ".pickle": "a pickle", ".npz": "NumPy",
    ".npy": "NumPy", ".h5": "HDF5", ".sqlite": "a database", ".db": "a database", ".rar": "a RAR archive",
    ".7z": "a 7z archive", ".zst": "packed by zstd", ".tar": "a tar archive", ".tgz": "a tar archive",
}
_HEAD = 6


def data_files(argument: str, path: str) -> tuple[list[str], bool]:
    """(sorted paths, are they Parquet).

    A single file may have any ending. A folder or a pattern gives the files with a known ending; if there are none, the
    JSON files; if there are none of these either, all files. Names that begin with `_` or `.`, of files and of folders
    below a folder, are left out.

    Args:
      argument: `path`, `users_path` or `items_path`, for messages
      path: a file, a folder, a pattern, or an address of these such as s3://bucket/log; or a member of a zip archive:
        archive.zip/folder/name

    Raises:
      DataError: there is none, or there are both Parquet and text files.
    """
    if is_address(path):
        with reading(path):
            files = files_at(path)
    elif os.path.isfile(path) or _archive_of(path):
        files = [path]
    elif os.path.isdir(path):
        files = [str(file) for file in Path(path).rglob("*") if file.is_file()]
    else:
        files = [file for file in glob.glob(path, recursive=True) if os.path.isfile(file)]
    if files != [path]:
        files = _chosen(argument, [file for file in files if not _is_hidden(file, path)])
    if not files:
        rule = f"name files that are there and end in {', '.join(_PARQUET + _TEXT[:8] + _JSON)}, packed or not"
        raise DataError(invalid(argument, rule, path, "There are none: check the path."))
    for file in files:
        if kind := _FOREIGN.get(Path(_bare(file)).suffix.lower()):
            raise DataError(invalid(argument, "name Parquet, CSV or JSON lines", file,
                                    f"It is {kind}: save its content as CSV or Parquet."))
    kinds = {is_parquet(file) for file in files}
    if len(kinds) > 1:
        way_out = f"Use a pattern: {path}/*.csv."
        raise DataError(invalid(argument, "name Parquet or CSV, not both", path, way_out))
    return sorted(files), kinds.pop()


def _is_hidden(file: str, path: str) -> bool:
    """Whether a name below the folder, or in place of the pattern's wildcards, begins with `_` or `.`."""
    if os.path.isdir(path):
        below = os.path.relpath(file, path)
    else:  # a pattern, or an address, whose `?` begins its settings
        below = file.removeprefix(path if file.startswith(path) else re.split(r"[*?[]", path)[0])
    return any(part[0] in "._" for part in below.strip("/").split("/") if part)


def _chosen(argument: str, files: list[str]) -> list[str]:
    of_role = [file for file in files if _bare(file).lower().endswith(_ROLES[argument])]
    known = [file for file in files if _bare(file).lower().endswith(_PARQUET + _TEXT)]
    return of_role or known or [file for file in files if plain_ending(file) in _JSON] or files


def plain_ending(path: str) -> str:
    """The ending of a file's name in small letters, without a compression's ending: log.CSV.gz → .csv."""
    path = Path(_bare(path).lower())  # type: ignore[assignment]  # a Path from here on
    return path.with_suffix("").suffix if path.suffix in _PACKED else path.suffix  # type: ignore[attr-defined]


def is_parquet(path: str) -> bool:
    """Whether a file is Parquet: by its name, or else by its first bytes."""
    ending = Path(_bare(path)).suffix.lower()
    if ending in _PARQUET + _TEXT + _JSON or _archive_of(path):
        return ending in _PARQUET
    with reading(path), _opened(path) as file:
        return file.read(4) == b"PAR1"


@contextlib.contextmanager
def open_file(path: str) -> Iterator[IO[bytes]]:
    """A seekable stream of the file's bytes, unpacked.

    Raises:
      DataError: it is damaged, or an archive of several files of which the path names none.
    """
    with open_streams(path) as (_, unpacked):
        yield unpacked


@contextlib.contextmanager
def open_streams(path: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """(the stream of the file as it lies there, that of `open_file`): the first tells how far the second was read."""
    with contextlib.ExitStack() as stack, reading(path):
        archive = _archive_of(path)
        packed: IO[bytes] = stack.enter_context(_opened(archive or path))
        file = packed
        if archive:
            file = stack.enter_context(_member(file, path, os.path.relpath(path, archive)))
        while unpack := _packing(file):
            file = stack.enter_context(unpack(file, path))
        yield packed, file


def _opened(path: str) -> IO[bytes]:
    if is_address(path):
        system, inner = place(path)
        return system.open_input_file(inner)
    return open(path, "rb")


def _bare(path: str) -> str:
    """A path, or an address without its options."""
    return path.partition("?")[0] if is_address(path) else path


def _packing(file: IO[bytes]) -> Callable[[IO[bytes], str], IO[bytes]] | None:
    head = file.read(_HEAD)
    file.seek(0)
    return next((unpack for magic, unpack in _UNPACK.items() if head.startswith(magic)), None)


def _archive_of(path: str) -> str | None:
    """The zip archive in a path, or None."""
    if is_address(path) or os.path.exists(path):
        return None
    return next((str(up) for up in Path(path).parents if up.suffix.lower() == ".zip" and up.is_file()), None)


def _member(file: IO[bytes], path: str, name: str | None = None) -> IO[bytes]:
    archive = zipfile.ZipFile(file)
    members = [info.filename for info in archive.infolist() if not info.is_dir() and "__MACOSX/" not in info.filename]
    if name is None and len(members) == 1:
        name = members[0]
    if name not in members:
        listed = ", ".join(members[:10])
        example = f" Name one: {path.removesuffix(f'/{name}')}/{members[0]}." if members else ""
        raise DataError(f"{path}: the archive has {'no file' if name is None else 'no such file'} to be read alone. "
                        f"It holds: {listed or 'nothing'}.{example}")
    try:
        return archive.open(name)
    except (RuntimeError, NotImplementedError) as error:  # a password, a method that Python does not have
        raise DataError(f"{path}: {error}. Unpack it.") from error


_UNPACK: dict[bytes, Callable[[IO[bytes], str], IO[bytes]]] = {
    b"\x1f\x8b": lambda file, path: gzip.open(file),  # type: ignore[dict-item, return-value]  # typeshed's gap
    b"BZh": lambda file, path: bz2.open(file),
    b"\xfd7zXZ\x00": lambda file, path: lzma.open(file),
    b"PK\x03\x04": _member,
}
