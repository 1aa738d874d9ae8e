"""EASE: a linear item-item model in closed form."""

import contextlib
import math
import time
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from tfrs_twotower.errors import EvaluationError

LIMIT = 20_000  # items: their weights take 1.6 GB
_DOUBLE_UP_TO = 5_000  # items: more are inverted in single precision, in half the memory and time
_BLOCK = 1024  # rows mirrored at a time
_PROBE = 1_000  # items of the small fit, from whose time that of others is estimated
_PROBES = 3
_ONE_THREAD = 3_000  # items up to which a fit is by one thread, so quick that others gain next to nothing


class EASE:
    """EASE (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data").

    P = (XᵀX + λI)⁻¹, B = I − P · diag(1 / diag P), whose diagonal is 0; the scores of a history x are x B. Each λ takes
    one Cholesky decomposition: n³ multiplications and additions. An eigendecomposition would serve all λ, but each λ
    would still need as many operations.

    Args:
      visits: float32 CSR [users, n] X: 1 for each pair.
      penalty: λ, above 0.
      gram: XᵀX, where it is known.

    Attributes:
      weights: float32 [n, n] B.

    Raises:
      EvaluationError: λ is too small for the precision.
    """

    def __init__(self, visits: sparse.csr_matrix, penalty: float, gram: np.ndarray | None = None) -> None:
        precision = np.float64 if visits.shape[1] <= _DOUBLE_UP_TO else np.float32
        gram = (visits.T @ visits).toarray().astype(precision, copy=False) if gram is None else gram.astype(precision)
        gram[np.diag_indices_from(gram)] += penalty
        with _threads(len(gram), gram.dtype):
            inverse = _inverse(gram, penalty)
        inverse /= -np.diagonal(inverse).copy()
        np.fill_diagonal(inverse, 0.0)
        self.weights = inverse.astype(np.float32, copy=False)
        self._popularity = np.asarray(visits.sum(axis=0), np.float32).ravel()

    def scorer(self, history: sparse.csr_matrix) -> "_Scorer":
        """A `Scorer` for `history`, CSR [q, n]; an empty history gets popularity."""
        return _Scorer(history, self.weights, self._popularity)


class _Scorer:
    def __init__(self, history: sparse.csr_matrix, weights: np.ndarray, popularity: np.ndarray) -> None:
        self.size, self.catalogue = history.shape
        self._history, self._weights, self._popularity = history, weights, popularity

    def scores(self, start: int, stop: int) -> np.ndarray:
        """float32 [stop - start, n]."""
        found = self._history[start:stop] @ self._weights
        found[np.diff(self._history.indptr[start: stop + 1]) == 0] = self._popularity
        return found


def expected_seconds(items: int) -> float:
    """Estimated seconds of a fit of so many items, from the quickest of a few small fits.

    Other work on the machine makes a fit slower and never quicker: one slow fit must not leave the baseline out.
    """
    precision = np.dtype(np.float64 if items <= _DOUBLE_UP_TO else np.float32)
    with _threads(items, precision):
        return min(_probes(precision)) * (items / _PROBE) ** 3


def _threads(items: int, precision: np.dtype) -> contextlib.AbstractContextManager[Any]:
    """Limits BLAS to one thread for a fit of so many items, unless small fits are quicker by all of its threads.

    Beside other work they wait for each other: by two threads on two busy cores a fit took up to ten times as long as
    by one, and a small one up to a hundred times. So they are tried last, and no longer than one thread needed.
    """
    from threadpoolctl import threadpool_limits

    if items <= _ONE_THREAD:
        return threadpool_limits(1, "blas")
    with threadpool_limits(1, "blas"):
        by_one = sum(_probes(precision))
    by_all = sum(_probes(precision, by_one))
    return threadpool_limits(1, "blas") if by_one <= by_all else contextlib.nullcontext()


def _probes(precision: np.dtype, most: float = math.inf) -> list[float]:
    """Seconds of a few small fits, the last of which makes them `most` or more."""
    seconds: list[float] = []
    while len(seconds) < _PROBES and sum(seconds) < most:
        matrix = np.eye(_PROBE, dtype=precision)
        matrix += precision.type(0.5 / _PROBE)
        begun = time.perf_counter()
        _inverse(matrix, 1.0)
        seconds.append(time.perf_counter() - begun)
    return seconds


def _inverse(matrix: np.ndarray, penalty: float) -> np.ndarray:
    """Of a symmetric positive definite matrix, in its own memory."""
    factor, inverter = (
        (lapack.dpotrf, lapack.dpotri) if matrix.dtype == np.float64 else (lapack.spotrf, lapack.spotri)
    )
    lower, failed = factor(matrix.T, lower=1, clean=0, overwrite_a=1)  # .T: in Fortran's order, so nothing is copied
    if failed:
        raise EvaluationError(
            f"`penalty` must be large enough for the weights to be exact. Received: penalty={penalty}. Raise it."
        )
    inverse, _ = inverter(lower, lower=1, overwrite_c=1)
    for start in range(0, len(inverse), _BLOCK):  # only the lower half was written
        stop = min(start + _BLOCK, len(inverse))
        block = inverse[start:stop, start:stop]
        block[:] = np.tril(block) + np.tril(block, -1).T
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
    return inverse
