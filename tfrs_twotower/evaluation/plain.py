"""Given scores as a `Scorer`: a dense array, or a table of pairs."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from tfrs_twotower import columns as c
from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.errors import EvaluationError, invalid
from tfrs_twotower.evaluation.scorers import Scorer, finite_rows

SCORE = "score"


class ArrayScorer:
    """A `Scorer` of given scores: [q, n]."""

    def __init__(self, scores: np.ndarray) -> None:
        self._scores = np.asarray(scores, np.float32)
        if self._scores.ndim != 2:
            rule = "be an array [queries, candidates], or a frame with user_id, item_id and score"
            raise EvaluationError(invalid("scores", rule, np.shape(scores), "Pass one row per query."))
        self.size, self.catalogue = self._scores.shape

    def scores(self, start: int, stop: int) -> np.ndarray:
        """float32 [stop - start, n]."""
        return self._scores[start:stop]


class PairScorer:
    """A `Scorer` of single pairs; candidates without a score in a row rank after all others.

    Args:
      rows, positions: int [pairs]: query and candidate of each score, no pair twice.
      scores: float [pairs], finite.
      size, catalogue: number of queries q and of candidates n.
    """

    light = True

    def __init__(
        self, rows: np.ndarray, positions: np.ndarray, scores: np.ndarray | pd.Series, size: int, catalogue: int
    ) -> None:
        self.size, self.catalogue = size, catalogue
        cells = np.asarray(rows, np.int64) * catalogue + positions
        order = np.argsort(cells, kind="stable")
        self._cells, self._scores = cells[order], finite_rows("scores", np.asarray(scores, np.float32))[order]
        if (self._cells[1:] == self._cells[:-1]).any():
            twice = int(np.flatnonzero(self._cells[1:] == self._cells[:-1])[0])
            raise EvaluationError(
                "`scores` must have one score for each pair. Received: two for query "
                f"{self._cells[twice] // catalogue} and candidate {self._cells[twice] % catalogue}. Keep one."
            )
        # Ranks in place of scores, so that there is always a number below the lowest.
        self._places = np.unique(self._scores, return_inverse=True)[1].astype(np.float32) + 1.0

    def scores(self, start: int, stop: int) -> np.ndarray:
        """float32 [stop - start, n]: the rank of each score among all, 1 for the lowest; 0 without a score."""
        found = np.zeros((stop - start) * self.catalogue, np.float32)
        first, end = np.searchsorted(self._cells, [start * self.catalogue, stop * self.catalogue])
        found[self._cells[first:end] - start * self.catalogue] = self._places[first:end]
        return found.reshape(stop - start, self.catalogue)


def as_asked(
    scores: Scorer | np.ndarray | pd.DataFrame, targets: Ragged | Sequence[Sequence[int]] | pd.DataFrame,
    exclude: Ragged | Sequence[Sequence[int]] | pd.DataFrame | None = None,
) -> tuple[Scorer, Ragged, Ragged | None]:
    """The arguments of `evaluate` as (`Scorer`, `Ragged` targets, `Ragged` exclude or None).

    Args:
      scores: a `Scorer`; an array [q, n]; or a frame with user_id, item_id and score, whose items are the catalogue.
      targets, exclude: `Ragged`, or q lists, of candidate positions; with a frame of scores frames with user_id and
        item_id. The users with a target are the queries.

    Raises:
      EvaluationError: a column is missing, or a pair has two scores.
    """
    if not isinstance(scores, pd.DataFrame):
        # To mypy, an array might have `scores` as well.
        scorer: Scorer = scores if hasattr(scores, "scores") else ArrayScorer(scores)  # type: ignore[assignment]
        return scorer, _ragged(targets), None if exclude is None else _ragged(exclude)
    _checked("scores", scores, (c.USER_ID, c.ITEM_ID, SCORE))
    _checked("targets", targets, (c.USER_ID, c.ITEM_ID))
    users, items = (
        pd.Index(targets[c.USER_ID].unique()),  # type: ignore[index, call-overload]  # a frame, as is now known
        pd.Index(scores[c.ITEM_ID].unique()),
    )
    asked = scores[scores[c.USER_ID].isin(users)]
    rows, positions = users.get_indexer(asked[c.USER_ID]), items.get_indexer(asked[c.ITEM_ID])
    scorer = PairScorer(rows, positions, asked[SCORE], len(users), len(items))
    if exclude is not None:
        _checked("exclude", exclude, (c.USER_ID, c.ITEM_ID))
        exclude = _grouped(
            exclude[exclude[c.USER_ID].isin(users)], users, items  # type: ignore[index, call-overload]  # a frame too
        )
    return scorer, _grouped(targets, users, items), exclude


def _ragged(rows: Ragged | Iterable[Sequence[int]]) -> Ragged:
    return rows if isinstance(rows, Ragged) else Ragged.from_lists(rows)


def _grouped(frame: pd.DataFrame, users: pd.Index, items: pd.Index) -> Ragged:
    """`Ragged`, one list per user: positions of the frame's items; −1 for items without any score."""
    rows = users.get_indexer(frame[c.USER_ID])
    order = np.argsort(rows, kind="stable")
    positions = items.get_indexer(frame[c.ITEM_ID])[order]
    return Ragged.from_lengths(positions, np.bincount(rows, minlength=len(users)))


def _checked(argument: str, frame: object, wanted: Sequence[str]) -> None:
    if not isinstance(frame, pd.DataFrame) or not set(wanted) <= set(frame.columns):
        received = list(frame.columns) if isinstance(frame, pd.DataFrame) else type(frame).__name__
        rule = f"be a frame with the columns {', '.join(wanted)}"
        raise EvaluationError(invalid(argument, rule, received, "Rename its columns."))
