"""Scorers: objects that score the whole catalogue for a range of queries, and so can be evaluated."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.errors import EvaluationError
from tfrs_twotower.evaluation.tables import as_tensor
from tfrs_twotower.scores import best_of_interests

_BLOCK_SCORES = 8_000_000
_MOST_SCORES = 64_000_000  # memory: 256 MB an array
_LEAST_ROWS = 96  # with fewer queries at a time, a product spends its time on reading the candidates' vectors


class Scorer(Protocol):
    """The interface of models and baselines for an evaluation."""

    size: int  # queries
    catalogue: int  # candidates
    # May also have `light = True`: then few queries at a time cost no more each, and few are scored at a time.

    def scores(self, start: int, stop: int) -> np.ndarray | tf.Tensor:
        """float32 [stop - start, catalogue]: array or tensor; row i belongs to query `start + i`.

        Whoever calls does not change it.
        """


def rows_at_once(catalogue: int) -> int:
    """The number of queries whose scores are computed together: a product of few rows costs more for each."""
    return max(min(_LEAST_ROWS, _MOST_SCORES // catalogue), _BLOCK_SCORES // catalogue, 1)


class DotScorer:
    """The inner product of query and candidate vectors; with several interests, the largest one.

    The products of the last `rows_at_once` queries are kept, for whoever asks for some of them, or several times.

    Args:
      queries: float [q, dim] or [q, interests, dim].
      candidates: float [n, dim], row i is the candidate at position i; of `empty_table` it is not copied.
      bias: float [n], added to every query's scores; or None.
      own: (`Ragged`, distinct positions of each query, without −1; float32 [positions]), numbers added to the scores
        of these positions of the query; or None.
      at: int [q], if candidates change with time. `candidates` is then [m, n, dim], their vectors at m moments, and
        query i is answered at moment `at[i]`.

    Raises:
      EvaluationError: a vector is NaN or infinite, or the shapes do not agree.
    """

    light = True

    def __init__(
        self, queries: np.ndarray | tf.Tensor, candidates: np.ndarray | tf.Tensor, bias: np.ndarray | None = None,
        own: tuple[Ragged, np.ndarray] | None = None, at: np.ndarray | None = None,
    ) -> None:
        self.queries = finite_rows("queries", np.asarray(queries, np.float32))
        self.candidates = finite_rows("candidates", np.asarray(candidates, np.float32))
        if self.candidates.ndim != (2 if at is None else 3) or self.queries.ndim not in (2, 3):
            raise EvaluationError(
                "`queries` must be [q, dim] or [q, interests, dim] and `candidates` [n, dim]. Received: "
                f"shapes {self.queries.shape} and {self.candidates.shape}. Pass the towers' outputs."
            )
        if self.queries.shape[-1] != self.candidates.shape[-1]:
            raise EvaluationError(
                "`queries` and `candidates` must have the same dim. Received: shapes "
                f"{self.queries.shape} and {self.candidates.shape}. Use both towers of one model."
            )
        self.size = len(self.queries)
        self.catalogue = self.candidates.shape[-2]
        if at is None:  # a tensor, and a view of it: the vectors of a large catalogue are held once
            self._table = as_tensor(self.candidates)
            self.candidates = np.asarray(self._table)
        self._own, self._at, self._plain = own, at, bias is None and own is None
        self._bias = np.asarray(0.0 if bias is None else bias, np.float32)
        self._first, self._kept = -1, np.zeros([0, 0], np.float32)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_first": -1, "_kept": np.zeros([0, 0], np.float32)}

    @property
    def latest(self) -> np.ndarray:
        """float32 [n, dim]: the candidates, at the last moment if there are several."""
        return self.candidates if self._at is None else self.candidates[-1]

    def scores(self, start: int, stop: int) -> np.ndarray:
        """float32 [stop - start, n]."""
        products = self._products(start, stop)
        return products if self._plain else _with_own(products + self._bias, self._own, start, stop)

    def _products(self, start: int, stop: int) -> np.ndarray:
        """float32 [stop - start, n]; not to be changed."""
        rows = rows_at_once(self.catalogue)
        first = start // rows * rows
        if stop > first + rows:
            return self._computed(start, stop)
        if first != self._first:
            self._kept = np.zeros([0, 0], np.float32)  # its memory is free before the next is computed
            self._kept, self._first = self._computed(first, min(first + rows, self.size)), first
        return self._kept[start - first: stop - first]

    def _computed(self, start: int, stop: int) -> np.ndarray:
        if self._at is None:
            return np.asarray(best_of_interests(
                lambda query: tf.matmul(query, self._table, transpose_b=True), self.queries[start:stop]
            ))
        found = np.empty([stop - start, self.catalogue], np.float32)
        for moment in np.unique(self._at[start:stop]):
            rows = np.flatnonzero(self._at[start:stop] == moment)
            candidates = self.candidates[moment]
            found[rows] = best_of_interests(
                lambda query: tf.matmul(query, candidates, transpose_b=True), self.queries[start + rows]
            )
        return found


class SumScorer:
    """A weighted sum of other scorers' scores.

    Args:
      parts: (scorer, weight) of each, the first with the weight 1.
      bias, own: as in `DotScorer`.
    """

    light = True

    def __init__(
        self, parts: Sequence[tuple[Scorer, float]], bias: np.ndarray | None = None,
        own: tuple[Ragged, np.ndarray] | None = None,
    ) -> None:
        self.size, self.catalogue = parts[0][0].size, parts[0][0].catalogue
        self._parts, self._own = parts, own
        self._bias = np.asarray(0.0 if bias is None else bias, np.float32)

    def scores(self, start: int, stop: int) -> np.ndarray:
        """float32 [stop - start, n]."""
        total = np.asarray(self._parts[0][0].scores(start, stop)) + self._bias
        for scorer, weight in self._parts[1:]:
            total += np.float32(weight) * np.asarray(scorer.scores(start, stop))
        return _with_own(total, self._own, start, stop)


def _with_own(scores: np.ndarray, own: tuple[Ragged, np.ndarray] | None, start: int, stop: int) -> np.ndarray:
    """The scores, to which what `DotScorer` calls own is added in place."""
    if own is not None:
        positions, values = own
        rows, columns = pairs(positions, start, stop).T
        scores[rows, columns] += values[positions.offsets[start]:positions.offsets[stop]]
    return scores


def pairs(ragged: Ragged | None, start: int, stop: int) -> np.ndarray:
    """int32 [any, 2]: (query in the block, position) of the rows start to stop, without −1."""
    if ragged is None:
        return np.zeros((0, 2), np.int32)
    offsets = ragged.offsets[start : stop + 1]
    values = np.asarray(ragged.values[offsets[0] : offsets[-1]])
    rows = np.repeat(np.arange(stop - start), np.diff(offsets))
    return np.stack([rows, values], axis=1).astype(np.int32)[values >= 0]


def finite_rows(argument: str, values: np.ndarray, first_row: int = 0) -> np.ndarray:
    """Returns `values` [rows, ...], or an `EvaluationError` that counts the rows with NaN or infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        sums = values.sum(axis=tuple(range(1, values.ndim)))
    if np.isfinite(sums).all():  # else a value is NaN or infinite, or a sum too large
        return values
    good = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not good.all():
        bad = np.flatnonzero(~good)
        raise EvaluationError(
            f"`{argument}` must be finite. Received: NaN or infinity in {len(bad):,} of {len(values):,} "
            f"rows, first in row {first_row + bad[0]}. The model diverged, or that input is not finite."
        )
    return values


def check_scorer(scorer: Scorer, name: str, ragged: Ragged) -> None:
    """`EvaluationError` unless `ragged` has one row per query and holds positions of the catalogue or −1."""
    rows = len(ragged.offsets) - 1
    if rows != scorer.size:
        raise EvaluationError(
            f"`{name}` must have one row for each of the {scorer.size:,} queries. Received: {rows:,} rows. "
            "Pass the rows of the same queries."
        )
    values = np.asarray(ragged.values)
    outside = (values < -1) | (values >= scorer.catalogue)
    if outside.any():
        raise EvaluationError(
            f"`{name}` must hold candidate positions below {scorer.catalogue:,}, or -1 for an item outside "
            f"the catalogue. Received: {int(values[outside][0])}. Map item rows to candidate positions first."
        )
