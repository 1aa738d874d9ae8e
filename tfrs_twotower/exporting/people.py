"""A sample of users beside an export, without their ids: a server asks strangers questions with it."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfrs_twotower.errors import ExportError

_FILE = os.path.join("assets.extra", "people.npz")


class People(NamedTuple):
    """Users as `channels.Elicitation` needs them.

    Attributes:
      vectors: float32 [s, dim], their query vectors. A user of several interests has a row for each.
      events: training events of a user, the mean.
    """

    vectors: np.ndarray
    events: float


def write(directory: str | Path, people: People) -> None:
    """Writes them into the folder of a version."""
    path = os.path.join(directory, _FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    np.savez(path, vectors=people.vectors.astype(np.float32), events=np.float64(people.events))


def read(directory: str | Path, manifest: Mapping[str, Any]) -> People | None:
    """What `write` wrote; None if the manifest does not list its file.

    Raises:
      ExportError: the file cannot be read.
    """
    if _FILE not in manifest.get("files", ()):
        return None
    path = os.path.join(directory, _FILE)
    try:
        with np.load(path) as arrays:
            return People(arrays["vectors"], float(arrays["events"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path} cannot be read ({error}). Export again.") from error
