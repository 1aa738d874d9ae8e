"""Metric values of single queries, kept so that two runs can be compared later, query by query."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfrs_twotower.durable import DAMAGED_NPZ, written_aside
from tfrs_twotower.errors import EvaluationError

if TYPE_CHECKING:
    from tfrs_twotower.evaluation.evaluate import Evaluation

FILE = "per_query.npz"
_TARGETS = "targets_sha256"


@dataclasses.dataclass(frozen=True)
class PerQuery:
    """The values of single queries that `compare` needs.

    Attributes:
      per_query: {metric: float64 [q]}.
      targets_sha256: of the queries and their targets, by ids.
    """

    per_query: dict
    targets_sha256: str


def write_per_query(
    folder: str | os.PathLike[str], evaluations: Mapping[str, "Evaluation"], targets_sha256: str
) -> None:
    """Keeps the values of {name: `Evaluation`} in a folder's `per_query.npz`."""
    arrays = {f"{name}/{metric}": v for name, e in evaluations.items() for metric, v in e.per_query.items()}
    with written_aside(Path(folder) / FILE) as file:
        np.savez_compressed(file, **arrays, **{_TARGETS: targets_sha256})  # type: ignore[arg-type]  # none is an option


def read_per_query(folder: str | os.PathLike[str], name: str = "model") -> PerQuery:
    """The `PerQuery` of one evaluation in a folder.

    Raises:
      EvaluationError: there is no such file, or it cannot be read.
    """
    path = Path(folder) / FILE
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {key.split("/", 1)[1]: arrays[key] for key in arrays.files if key.startswith(f"{name}/")}
            return PerQuery(found, str(arrays[_TARGETS]))
    except DAMAGED_NPZ as error:
        raise EvaluationError(
            f"{path} cannot be read ({error}). Measure the run again: twotower evaluate RUN."
        ) from error
