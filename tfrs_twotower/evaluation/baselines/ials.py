"""iALS: the factor model of implicit feedback, by the package `implicit`."""

from collections.abc import Callable

import numpy as np
from scipy import sparse

from tfrs_twotower.evaluation.scorers import DotScorer

FACTORS = 64


class IALS:
    """Implicit alternating least squares (Hu, Koren and Volinsky 2008), 64 factors.

    A pair of the training events has preference 1 with confidence `alpha`, every other pair 0 with confidence 1.

    Args:
      visits: float32 CSR [users, n]: 1 for each pair.
      alpha: confidence, at least 1.
      regularization: of both sides' factors.
      iterations: updates of each side.
      seed: of the first factors.
      watch: called after every iteration; an error that it raises ends the fit.
    """

    def __init__(
        self, visits: sparse.csr_matrix, alpha: float, regularization: float, iterations: int, seed: int = 0,
        watch: Callable[[], None] | None = None,
    ) -> None:
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):  # the package has its own threads, and warns about others
            self._model = AlternatingLeastSquares(
                FACTORS, regularization=regularization, alpha=alpha, iterations=iterations, random_state=seed
            )
            self._model.fit(visits, show_progress=False, callback=None if watch is None else lambda *_: watch())
        self._popularity = np.asarray(visits.sum(axis=0), np.float32).ravel()

    def scorer(self, history: sparse.csr_matrix) -> DotScorer:
        """A `Scorer` for `history`, CSR [q, n]: solves for its user's factors; an empty history gets popularity."""
        users = self._model.recalculate_user(np.arange(history.shape[0]), history)
        # One more factor: popularity, used for an empty history.
        empty = np.diff(history.indptr) == 0
        users = np.concatenate([np.where(empty[:, None], 0.0, users), empty[:, None]], axis=1)
        items = np.concatenate([self._model.item_factors, self._popularity[:, None]], axis=1)
        return DotScorer(users, items)
