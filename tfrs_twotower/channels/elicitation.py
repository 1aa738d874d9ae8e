"""Questions to a stranger: which items tell most about a user of whom nothing is known, and what the answers say."""

import numpy as np

from tfrs_twotower.channels.diversity import mmr

_ITEMS = 1000  # the best-known items, among which questions are chosen
_MOST = 10_000  # items of the softmax
_DISLIKE = 0.3  # the power of a dislike
_POOL = 5  # items for each question, among which diversity chooses
_DIVERSITY = 0.3
_LEAST = 1e-6  # of a probability


class Elicitation:
    """Chooses questions of the form "Do you like this item?", and reads their answers.

    A stranger is like one of s people, the model's own users, at first each with the same probability. A person likes
    an item with the probability 1 − exp(−events · p(item | person)): that it is among the person's events. p is the
    softmax of the model's scores over the best-known items. A like changes the people's probabilities by Bayes' rule. A
    dislike does so with the power 0.3: who knows an item well enough to dislike it is often like those who like it.

    The worth of a question is the information (bits) that its answer is expected to give about the person, times the
    probability that a person knows the item. It follows Rashid et al. (SIGKDD Explorations 2008), who weigh popularity
    and information, and Golbandi et al. (WSDM 2011) and Christakopoulou et al. (KDD 2016), whose questions adapt.

    Args:
      people: float32 [s, dim], query vectors of users.
      events: training events of a user, the mean.
      vectors: float32 [n, dim], the catalogue's.
      log_popularity: float32 [n], log p(item).
      scale: 1 / τ.
      weight: of log p(item) in the score ⟨u, v⟩ / τ + weight · log p(item).

    Attributes:
      known: float [n], the share of people who know each item: 1 − exp(−events · p(item)).
    """

    def __init__(
        self, people: np.ndarray, events: float, vectors: np.ndarray, log_popularity: np.ndarray, scale: float = 1.0,
        weight: float = 0.0,
    ) -> None:
        self.known = 1 - np.exp(-events * np.exp(log_popularity.astype(np.float64)))
        self._people, self._vectors, self._scale, self._bias = people, vectors, scale, weight * log_popularity
        self._events = events
        best = np.argsort(-self.known, kind="stable")[:_MOST]
        self.rows = best[:_ITEMS]
        self._total = np.logaddexp.reduce(self._scores(best), axis=1, keepdims=True)  # [s, 1], of the softmax
        self._likes = self._like(self.rows)
        self._doubt = _entropy(self._likes)

    def probabilities(self, likes: np.ndarray, dislikes: np.ndarray) -> np.ndarray:
        """float [s]: the probability of each person, given the rows of items that the stranger likes and dislikes."""
        logs = np.log(self._like(likes)).sum(axis=1) + _DISLIKE * np.log(1 - self._like(dislikes)).sum(axis=1)
        weights = np.exp(logs - logs.max())
        return weights / weights.sum()

    def vector(self, likes: np.ndarray, dislikes: np.ndarray) -> np.ndarray:
        """float32 [dim]: the mean of the people's vectors by their probabilities."""
        return (self.probabilities(likes, dislikes) @ self._people).astype(np.float32)

    def questions(
        self, n: int, likes: np.ndarray, dislikes: np.ndarray, asked: np.ndarray, admitted: np.ndarray | None = None
    ) -> list[tuple[int, float]]:
        """The next n questions, best first: [(row, worth in bits)].

        Args:
          n: the most questions. To let each adapt to the answer before, ask for one at a time.
          likes, dislikes: rows of the items that the stranger likes and dislikes.
          asked: rows that are not asked (again), such as those that the stranger did not know.
          admitted: bool [n], the rows that may be asked; None: all.
        """
        weights = self.probabilities(likes, dislikes)
        worth = self.known[self.rows] * (_entropy(weights @ self._likes) - weights @ self._doubt)
        past = np.concatenate([likes, dislikes, asked]).astype(int)
        there = ~np.isin(self.rows, past)
        if admitted is not None:
            there &= admitted[self.rows]
        order = np.argsort(-worth, kind="stable")
        pool = order[there[order]][: n * _POOL]
        # with several questions at a time, alike ones would be asked twice
        chosen = mmr(self._vectors[self.rows[pool]], n, _DIVERSITY) if n > 1 else range(min(1, len(pool)))
        return [(int(self.rows[pool[at]]), float(worth[pool[at]])) for at in chosen]

    def _scores(self, rows: np.ndarray) -> np.ndarray:
        return self._scale * (self._people @ self._vectors[rows].T) + self._bias[rows]

    def _like(self, rows: np.ndarray) -> np.ndarray:
        """[s, rows]: the probability that each person likes each item."""
        share = np.exp(self._scores(np.asarray(rows, int)) - self._total)
        return np.clip(1 - np.exp(-self._events * share), _LEAST, 1 - _LEAST)


def _entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
