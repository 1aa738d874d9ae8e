"""A few steps on the first events of a new user or item, from a meta-learned start."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import Count, Natural, Positive, Share


@config
class Reptile:
    """Reptile (Nichol, Achiam, Schulman 2018), which is simpler than MAML: no gradient of a gradient.

    Attributes:
      items: whether `ModelConfig.few_shot` moves new items.
      users: whether it moves new users. On MovieLens-100K a history alone was better.
      steps: gradient steps on the first events of a newcomer; 0: none.
      rate: the learning rate of these steps.
      outer: the part of the way to the mean of the adapted newcomers that the start moves in a round.
      rounds: the number of rounds of meta-learning.
      newcomers: the number of users or items that are drawn for a round.
      events: the number of newest events of a newcomer that count.
      others: the number of vectors of the other side, drawn at random, with which a step compares those of the events.
    """

    items: bool = True
    users: bool = False
    steps: Natural = 5
    rate: Positive = 0.05
    outer: Share = 0.3
    rounds: Count = 20
    newcomers: Count = 256
    events: Count = 5
    others: Count = 1000


class FewShot:
    """Moves the vectors of newcomers, users or items, towards those of their first events.

    A newcomer's vector u is what its tower makes of everything but the id, plus a start that is the same for all. A
    step is one of gradient descent on the mean of −log softmax(scale · ⟨u, v⟩) over its first events, among all
    `others`. u keeps the length of the tower's vector. For users `others` are items. For items they are query vectors
    of users: then the softmax says who takes the item.

    Args:
      others: float32 [m, dim]; of more than `settings.others`, as many are drawn.
      scale: 1 / τ.
      settings: a `Reptile`.
      seed: of all draws.

    Attributes:
      start: float32 [dim]: 0 until `learn`.
    """

    def __init__(self, others: np.ndarray, scale: float, settings: Reptile = Reptile(), seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        drawn = np.sort(self._random.permutation(len(others))[: settings.others])
        self._others, self._scale, self.settings = np.asarray(others, np.float32)[drawn], scale, settings
        self.start = np.zeros(self._others.shape[1], np.float32)

    def learn(self, vectors: np.ndarray, first: np.ndarray) -> None:
        """Sets the start by users (or items) of the training, as if each were new.

        Args:
          vectors: float32 [n, dim], the tower's vectors without their ids.
          first: float32 [n, dim], for each the mean of the vectors of the other side in its first events.
        """
        for _ in range(self.settings.rounds if len(vectors) else 0):
            rows = self._random.permutation(len(vectors))[: self.settings.newcomers]
            begun = vectors[rows] + self.start
            self.start += self.settings.outer * (self._steps(begun, first[rows]) - begun).numpy().mean(axis=0)

    def adapted(self, vectors: np.ndarray | tf.Tensor, first: np.ndarray | tf.Tensor) -> tf.Tensor:
        """float32 [n, dim]: the vectors of newcomers after their first events; see `learn` for the arguments."""
        moved = self._steps(vectors + self.start, first)
        return moved * (_lengths(vectors) / tf.maximum(_lengths(moved), 1e-12))

    def newcomers_adapted(
        self, vectors: tf.Tensor, new: tf.Tensor, others: tf.Tensor, rows: np.ndarray | tf.Tensor
    ) -> tf.Tensor:
        """The vectors, in which those of newcomers with an event are `adapted`. No other vector changes a bit.

        Args:
          vectors: float32 [n, dim].
          new: bool [n]: the newcomers.
          others: float32 [m, dim], of the whole other side.
          rows: int32 [n, any]: the rows of `others` in the first events; −1 pads.
        """
        new &= tf.reduce_any(rows >= 0, axis=1)

        def moved() -> tf.Tensor:
            return tf.where(new[:, tf.newaxis], self.adapted(vectors, means(others, rows)), vectors)

        return tf.cond(tf.reduce_any(new), moved, lambda: vectors)

    def _steps(self, vectors: np.ndarray | tf.Tensor, first: np.ndarray | tf.Tensor) -> tf.Tensor:
        vectors = tf.cast(vectors, tf.float32)
        for _ in range(self.settings.steps):
            scores = self._scale * tf.matmul(vectors, self._others, transpose_b=True)
            expected = tf.matmul(tf.nn.softmax(scores), self._others)
            vectors = vectors + self.settings.rate * (first - expected)  # the gradient, over the scale
        return vectors


def means(vectors: tf.Tensor, rows: np.ndarray | tf.Tensor) -> tf.Tensor:
    """float32 [n, dim]: the mean of the vectors [m, dim] at rows [n, any]; −1 pads, and zeros stand for no row."""
    there = tf.cast(rows >= 0, tf.float32)
    found = tf.gather(vectors, tf.maximum(rows, 0)) * there[..., tf.newaxis]
    return tf.reduce_sum(found, axis=1) / tf.maximum(tf.reduce_sum(there, axis=1, keepdims=True), 1.0)


def _lengths(vectors: np.ndarray | tf.Tensor) -> tf.Tensor:
    return tf.norm(tf.cast(vectors, tf.float32), axis=1, keepdims=True)
