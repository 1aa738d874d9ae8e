"""Addresses such as s3://bucket/log: the file systems that Arrow has, or fsspec."""

from __future__ import annotations

import functools
import importlib
import os
import re
from urllib.parse import SplitResult, urlsplit

import pyarrow as pa
import pyarrow.fs as arrow_fs

from tfrs_twotower.errors import DataError

_WILD = re.compile(r"\*\*/|\*\*|\*|.", re.DOTALL)
_REGEX = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}


def is_address(path: str | os.PathLike[str]) -> bool:
    """Whether a path names its file system."""
    return "://" in str(path)


def place(address: str) -> tuple[arrow_fs.FileSystem, str]:
    """(file system, path there) of an address. What stands behind ? are options, such as s3://bucket/log?region=eu-1.

    Raises:
      DataError: neither Arrow nor fsspec has such a file system, or it cannot be reached.
    """
    parts = _parts(address)
    system, root = _system(parts.scheme, parts.netloc, parts.query)
    return system, root + parts.path


def files_at(address: str) -> list[str]:
    """The addresses of the files that an address names: a file, all below a folder, or those of a pattern with *."""
    parts = _parts(address)
    system, path = place(address)
    head = path.partition("*")[0]
    if system.get_file_info(path).type == arrow_fs.FileType.File:
        found = [path]
    else:
        base = path.rstrip("/") if head == path else head.rpartition("/")[0]
        infos = system.get_file_info(arrow_fs.FileSelector(base, allow_not_found=True, recursive=True))
        found = [info.path for info in infos if info.type == arrow_fs.FileType.File]
        if head != path:
            pattern = "".join(_REGEX.get(piece, re.escape(piece)) for piece in _WILD.findall(path))
            found = [name for name in found if re.fullmatch(pattern, name)]
    _, root = _system(parts.scheme, parts.netloc, parts.query)
    query = f"?{parts.query}" if parts.query else ""
    return [f"{parts.scheme}://{parts.netloc}{name[len(root):]}{query}" for name in found]


def _parts(address: str) -> SplitResult:
    parts = urlsplit(address, allow_fragments=False)
    if parts.password is not None:  # runs, datasets and messages would keep it
        raise DataError(
            f"An address must hold no password. Received: {parts.scheme}://{parts.username}:…@{parts.hostname}. Give "
            "credentials where the file system's client finds them, such as AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY in the environment."
        )
    return parts


@functools.lru_cache  # a client of object storage asks for the bucket's region first
def _system(scheme: str, netloc: str, query: str) -> tuple[arrow_fs.FileSystem, str]:
    """(file system, the path of its root without a / at the end)"""
    address = f"{scheme}://{netloc}/" + (f"?{query}" if query else "")
    try:
        system, root = arrow_fs.FileSystem.from_uri(address)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as refused:
        try:
            fsspec = importlib.import_module("fsspec")
            inner, root = fsspec.core.url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise DataError(
                f"{address}: Arrow has no such file system ({refused}), nor has fsspec ({error}). Install fsspec and "
                "the package of the file system, such as adlfs for abfs://, or copy the files."
            ) from error
        system = arrow_fs.PyFileSystem(arrow_fs.FSSpecHandler(inner))
    return system, root.rstrip("/")
