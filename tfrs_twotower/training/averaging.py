"""The running average of the weights, which is evaluated and kept in place of the weights."""

import contextlib
from collections.abc import Iterable, Iterator

import tensorflow as tf


class WeightAverage(tf.Module):
    """avg ← avg + (1 − m)·(w − avg) after each step, with m = min(momentum, (1 + n) / (10 + n)) in step n.

    The second term lets the average forget the start of training. Every step passes over all weights, large tables
    too.

    Args:
      weights: the variables to average.
      momentum: the share of itself that the average keeps; 0.998 averages over about five hundred steps.
    """

    def __init__(self, weights: Iterable[tf.Variable], momentum: float) -> None:
        super().__init__(name="average")
        self._weights, self._momentum = list(weights), momentum
        self.averages = [tf.Variable(weight, trainable=False) for weight in self._weights]
        self.steps = tf.Variable(0.0, trainable=False)

    @tf.function
    def update(self) -> None:
        """Adds the weights after a step."""
        momentum = tf.minimum(self._momentum, (1.0 + self.steps) / (10.0 + self.steps))
        self.steps.assign_add(1.0)
        for average, weight in zip(self.averages, self._weights):
            average.assign_add((1.0 - momentum) * (weight - average))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """A context in which the weights are replaced by their averages."""
        own = [weight.numpy() for weight in self._weights]
        for weight, average in zip(self._weights, self.averages):
            weight.assign(average)
        try:
            yield
        finally:
            for weight, value in zip(self._weights, own):
                weight.assign(value)
