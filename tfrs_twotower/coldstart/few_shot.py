"""A few steps on the first events of a new user or item, from a meta-learned start."""

import numpy as np

from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import Count, Natural, Positive, Share

_QUERIES = 512  # newcomers at a time: their scores are [queries, others]


@config
class Reptile:
    """Reptile (Nichol, Achiam, Schulman 2018), which is simpler than MAML: no gradient of a gradient.

    Attributes:
      steps: gradient steps on the first events of a newcomer; 0: none.
      rate: the learning rate of these steps.
      outer: the part of the way to the mean of the adapted newcomers that the start moves in a round.
      rounds: the number of rounds of meta-learning.
      newcomers: the number of users or items that are drawn for a round.
    """

    steps: Natural = 5
    rate: Positive = 0.05
    outer: Share = 0.3
    rounds: Count = 20
    newcomers: Count = 256


class FewShot:
    """Moves the vectors of newcomers, users or items, towards those of their first events.

    A newcomer's vector u is what its tower makes of everything but the id, plus a start that is the same for all. A
    step is one of gradient descent on the mean of −log softmax(scale · ⟨u, v⟩) over its first events, among all
    `others`. u keeps the length of the tower's vector. For users `others` are items. For items they are query vectors
    of users: then the softmax says who takes the item.

    Args:
      others: float32 [m, dim].
      scale: 1 / τ.
      settings: a `Reptile`.
      seed: of the draws of `learn`.

    Attributes:
      start: float32 [dim]: 0 until `learn`.
    """

    def __init__(self, others: np.ndarray, scale: float, settings: Reptile = Reptile(), seed: int = 0) -> None:
        self._others, self._scale, self.settings = np.asarray(others, np.float32), scale, settings
        self._random = np.random.default_rng(seed)
        self.start = np.zeros(self._others.shape[1], np.float32)

    def learn(self, vectors: np.ndarray, first: np.ndarray) -> None:
        """Sets the start by users (or items) of the training, as if each were new.

        Args:
          vectors: float32 [n, dim], the tower's vectors without their ids.
          first: float32 [n, dim], for each the mean of the vectors of `others` in its first events.
        """
        for _ in range(self.settings.rounds):
            rows = self._random.permutation(len(vectors))[: self.settings.newcomers]
            begun = vectors[rows] + self.start
            self.start += self.settings.outer * (self._steps(begun, first[rows]) - begun).mean(axis=0)

    def adapted(self, vectors: np.ndarray, first: np.ndarray) -> np.ndarray:
        """float32 [n, dim]: the vectors of newcomers after their first events; see `learn` for the arguments."""
        blocks = range(0, len(vectors), _QUERIES)
        found = [self._steps(vectors[i:i + _QUERIES] + self.start, first[i:i + _QUERIES]) for i in blocks]
        moved = np.concatenate(found) if found else np.zeros_like(vectors)
        return moved * (_lengths(vectors) / np.maximum(_lengths(moved), 1e-12))

    def _steps(self, vectors: np.ndarray, first: np.ndarray) -> np.ndarray:
        for _ in range(self.settings.steps):
            scores = self._scale * (vectors @ self._others.T)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            expected = weights @ self._others / weights.sum(axis=1, keepdims=True)
            vectors = vectors + self.settings.rate * (first - expected)  # the gradient, over the scale
        return vectors


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=1, keepdims=True)
