"""Trials of the settings of neighbours, within a time."""

from collections.abc import Callable

import numpy as np

from tfrs_twotower.models import NeighbourVectors
from tfrs_twotower.pipeline.trials import Trials
from tfrs_twotower.training import NeighbourFit


class NeighbourTrials:
    """Call it with settings for float [queries]: the values of their vectors. None: they had no time.

    A trial has two parts: EASE's fit for a penalty, unless it is that of the trial before; and the rest, which grows
    with the length of the vectors. Before the first trial, both are taken to be as long as the fit is estimated.

    Args:
      fit: a `NeighbourFit`.
      shortest: the length of the shortest vectors: one step of the bar.
      seed: of the factorisation.
      measure: `NeighbourVectors` → the values.
      trials: `Trials` with the time for it.

    Attributes:
      made: {(penalty, power, dim): (values, `NeighbourVectors`)}.
    """

    def __init__(
        self, fit: NeighbourFit, shortest: int, seed: int, measure: Callable[[NeighbourVectors], np.ndarray],
        trials: Trials,
    ) -> None:
        self._fit, self._shortest, self._seed, self._measure, self._trials = fit, shortest, seed, measure, trials
        self.made: dict[tuple[float, float, int], tuple[np.ndarray, NeighbourVectors]] = {}
        # The longest times so far: of EASE's fit for a penalty, and of a number more in each vector.
        self._fitting = fit.expected_seconds() if trials.limited else 0.0
        self._a_number = self._fitting / shortest

    def __call__(self, penalty: float, power: float, dim: int, what: str) -> np.ndarray | None:
        """what: the settings in words, for `Trials.untried`."""
        setting, now = (penalty, power, dim), self._trials.now
        if setting not in self.made:
            fitting = 0.0 if self._fit.has(penalty) else self._fitting
            if not self._trials.begins(what, fitting + dim * self._a_number):
                return None
            begun = now()
            self._fit.weights(penalty)
            fitted = now()
            vectors = self._fit.vectors(penalty, dim, self._seed, power)
            values = self._measure(vectors)
            if not self.made:
                self._fitting = self._a_number = 0.0  # the estimates
            self.made[setting] = values, vectors
            self._fitting = max(self._fitting, fitted - begun)
            self._a_number = max(self._a_number, (now() - fitted) / dim)
            self._trials.advance(dim / self._shortest)
        return self.made[setting][0]
