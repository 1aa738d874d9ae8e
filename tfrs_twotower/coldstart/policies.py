"""Policies that choose the new item to show next, by its clicks so far and their uncertainty.

For each item a policy knows the number of users who were shown it, and of those who clicked it. Its click rate has the
posterior Beta(prior_clicks + clicked, prior_misses + shown − clicked).
"""

from typing import Protocol

import numpy as np

from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import Positive, Share


class Policy(Protocol):
    """Orders items by the value of showing each of them now."""

    def order(
        self, shown: np.ndarray, clicked: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """(rows, scores) of all m items, best first.

        Args:
          shown, clicked: int64 [m], users so far; see `Exposures`.
          random: a `np.random.Generator`.

        Returns:
          rows: int64 [m], each of 0 … m − 1 once. scores: float64 [m], in the order of `rows`: the policy's
          value of each item, from 0 to 1. They need not descend.
        """
        ...


@config
class EpsilonGreedy:
    """Shows a random item with probability ε, else the one with the highest posterior mean.

    Attributes:
      epsilon: ε, from 0 (never random) to 1 (always: uniform exploration).
      prior_clicks, prior_misses: of the Beta prior, above 0. With (1, 1) every new item counts as a good one. If the
        usual click rate is 2%, write (1, 49).
    """

    epsilon: Share = 0.1
    prior_clicks: Positive = 1.0
    prior_misses: Positive = 1.0

    def order(
        self, shown: np.ndarray, clicked: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Policy`. Equal means come in random order."""
        means = posterior_mean(self, shown, clicked)
        best_first = list(np.lexsort((random.random(len(means)), -means)))
        rows = []
        for explores in random.random(len(means)) < self.epsilon:
            rows.append(best_first.pop(random.integers(len(best_first)) if explores else 0))
        found = np.array(rows, np.int64)
        return found, means[found]


@config
class Thompson:
    """Thompson sampling: draws a click rate from every item's posterior, and shows the highest (Thompson 1933;
    Chapelle and Li 2011).

    Attributes:
      prior_clicks, prior_misses: see `EpsilonGreedy`.
    """

    prior_clicks: Positive = 1.0
    prior_misses: Positive = 1.0

    def order(
        self, shown: np.ndarray, clicked: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Policy`. The scores are the rates that were drawn."""
        rates = random.beta(self.prior_clicks + clicked, self.prior_misses + shown - clicked)
        rows = np.argsort(-rates, kind="stable")
        return rows, rates[rows]


def posterior_mean(policy: EpsilonGreedy | Thompson, shown: np.ndarray, clicked: np.ndarray) -> np.ndarray:
    """float64 [m]: (prior_clicks + clicked) / (prior_clicks + prior_misses + shown)."""
    return (policy.prior_clicks + clicked) / (policy.prior_clicks + policy.prior_misses + shown)
