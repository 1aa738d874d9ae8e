"""The answers to a sample of an evaluation's queries, kept in a run: the report and `compare --html` read them."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfrs_twotower.data.queries import Queries
from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.durable import DAMAGED_NPZ, written_aside
from tfrs_twotower.errors import EvaluationError
from tfrs_twotower.evaluation.evaluate import Evaluation

ANSWERS = "answers.npz"
_QUERIES = 4_000
_DEPTH = 100  # answers of a query
_TOP = "top/"


@dataclasses.dataclass(frozen=True, eq=False)
class SampledAnswers:
    """What a model and its baselines answered to n queries.

    Attributes:
      asked: int64 [n]: places of the queries among all that were asked, ascending.
      user: int32 [n]: user rows.
      row: int64 [n]: log rows; the past of a query ends before its row.
      targets: `Ragged`: item rows that count as right.
      tops: {"model" or a baseline's name: int32 [n, depth]}: item rows, best first; −1 pads.
    """

    asked: np.ndarray
    user: np.ndarray
    row: np.ndarray
    targets: Ragged
    tops: dict[str, np.ndarray]

    @classmethod
    def of(
        cls, queries: Queries, targets: Ragged, evaluations: Mapping[str, Evaluation], catalogue: np.ndarray,
        seed: int = 0,
    ) -> "SampledAnswers":
        """At most 4,000 of the queries with a target, drawn by the seed: the same ones for all runs that asked them.

        targets: of `queries`, as item rows. catalogue: int32, the item row of each position of an `Evaluation.top`.
        """
        known = np.flatnonzero(targets.lengths)
        asked = np.sort(np.random.default_rng(seed).permutation(known)[:_QUERIES])
        tops = {name: e.top[asked, :_DEPTH] for name, e in evaluations.items()}
        return cls(asked, queries.user[asked], queries.row[asked], targets.take(asked), {
            name: np.where(top >= 0, catalogue[top], -1).astype(np.int32) for name, top in tops.items()
        })

    def __len__(self) -> int:
        return len(self.asked)

    @property
    def of_query(self) -> np.ndarray:
        """int64 [targets]: the query of each target."""
        return np.repeat(np.arange(len(self)), self.targets.lengths)

    def found(self, name: str, k: int) -> np.ndarray:
        """bool [targets]: whether a target is among the first k answers of `name`."""
        return (self.tops[name][self.of_query, :k] == self.targets.values[:, np.newaxis]).any(axis=1)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Keeps them in a folder's `answers.npz`."""
        with written_aside(Path(folder) / ANSWERS) as file:
            np.savez_compressed(
                file, asked=self.asked, user=self.user, row=self.row,
                targets=self.targets.values, offsets=self.targets.offsets,
                **{_TOP + name: top for name, top in self.tops.items()},  # type: ignore[arg-type]  # none is an option
            )

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> "SampledAnswers":
        """Those of a folder.

        Raises:
          EvaluationError: there are none, or they cannot be read.
        """
        path = Path(folder) / ANSWERS
        try:
            with np.load(path, allow_pickle=False) as kept:
                tops = {name.removeprefix(_TOP): kept[name] for name in kept.files if name.startswith(_TOP)}
                targets = Ragged(kept["targets"], kept["offsets"])
                return cls(kept["asked"], kept["user"], kept["row"], targets, tops)
        except DAMAGED_NPZ as error:
            raise EvaluationError(
                f"{path} cannot be read ({error}). Measure the run again: twotower evaluate RUN."
            ) from error
