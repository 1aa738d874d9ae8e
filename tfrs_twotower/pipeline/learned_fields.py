"""The vocabularies and statistics that the fields of a training learned, as a file of plain arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_twotower.durable import DAMAGED_NPZ, written_aside
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.towers import EnsembleTower, Tower

_FIELDS = "fields.npz"


def has_fields(folder: str | Path) -> bool:
    """Whether a training has begun in the folder of its checkpoints."""
    return (Path(folder) / _FIELDS).is_file()


def write_fields(folder: str | Path, towers: Sequence[Tower | EnsembleTower]) -> None:
    """Writes the vocabularies and statistics of the fields of (query tower, candidate tower) as plain arrays into a
    training's folder."""
    arrays: dict[str, Any] = {}
    for side, tower in zip(("query", "candidate"), towers):
        for field, state in tower.state().items():
            arrays.update({f"{side}/{field}/{key}": value for key, value in state.items()})
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with written_aside(folder / _FIELDS) as f:
        np.savez(f, **arrays)


def read_fields(folder: str | Path) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """The states that `write_fields` kept: {side: result of `Tower.state`}.

    Raises:
      TrainingError: they cannot be read.
    """
    file = Path(folder) / _FIELDS
    states: dict[str, dict] = {"query": {}, "candidate": {}}
    try:
        with np.load(file, allow_pickle=False) as arrays:
            for path in arrays.files:
                side, field, key = path.split("/", 2)
                states[side].setdefault(field, {})[key] = arrays[path]
    except DAMAGED_NPZ as error:
        raise TrainingError(f"{file} cannot be read ({error}). Train the run anew.") from error
    return states
