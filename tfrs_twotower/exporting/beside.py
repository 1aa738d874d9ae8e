"""Files of an export beside its graph, in the folder `assets.extra`."""

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from tfrs_twotower.errors import ExportError

_FOLDER = "assets.extra"
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, pa.ArrowException, zipfile.BadZipFile)

_Content = TypeVar("_Content")


def place(directory: str | Path, name: str) -> str:
    """The path of a file that is to be written; its folder is made."""
    folder = os.path.join(directory, _FOLDER)
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, name)


def read(
    directory: str | Path, manifest: Mapping[str, Any], name: str, reader: Callable[[str], _Content]
) -> _Content | None:
    """What `reader` makes of the path of a file; None if the manifest does not list the file.

    Raises:
      ExportError: the file cannot be read.
    """
    file = os.path.join(_FOLDER, name)
    if file not in manifest.get("files", ()):
        return None
    path = os.path.join(directory, file)
    try:
        return reader(path)
    except _UNREADABLE as error:
        raise ExportError(f"{path} cannot be read ({error}). Export again.") from error
