"""A sample of users beside an export, without their ids: a server asks strangers questions with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfrs_twotower.exporting import beside

_FILE = "people.npz"


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
    vectors = people.vectors.astype(np.float32)
    np.savez(beside.place(directory, _FILE), vectors=vectors, events=np.float64(people.events))


def read(directory: str | Path, manifest: Mapping[str, Any]) -> People | None:
    """What `write` wrote; None if the manifest does not list its file.

    Raises:
      ExportError: the file cannot be read.
    """
    return beside.read(directory, manifest, _FILE, _read)


def _read(path: str) -> People:
    with np.load(path) as arrays:
        return People(arrays["vectors"], float(arrays["events"]))
