"""A stream of items whose popularity drifts, and the errors of estimators on it."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tfrs_twotower.sampling.logq import StaticCorrection
from tfrs_twotower.sampling.streaming import StreamingCorrection


def drifting_popularity(
    items: int, swing: float, seed: int = 0, mortal: float = 0.0
) -> Callable[[float], np.ndarray]:
    """The probability of each item at a time: a function phase → float64 [items], of sum 1.

    On average, item popularity is 1 / rank. The popularity of each item rises and falls around that by a factor of
    e^swing, once while the phase goes from 0 to 1, each item at another time. Some items also die and return: for half
    of each phase their popularity is 0.

    Args:
      items: the number of items.
      swing: 0 for no drift; with ln 3 an item's popularity goes from a third to 3 times its average.
      seed: of the items' times.
      mortal: the share of the items that are born, die and come back, from 0 to 1.
    """
    rng = np.random.default_rng(seed)
    offset = rng.random(items)
    log_mean = -np.log(np.arange(1, items + 1))
    dies = rng.random(items) < mortal

    def at(phase: float) -> np.ndarray:
        weight = np.exp(log_mean + swing * np.sin(2 * np.pi * (phase + offset)))
        weight[dies & ((phase + offset) % 1 >= 0.5)] = 0.0
        return weight / weight.sum()

    return at


def tracking_errors(
    estimators: Mapping[str, StaticCorrection | StreamingCorrection], popularity: Callable[[float], np.ndarray],
    batches: int, batch_size: int, period: float, seed: int = 0,
) -> dict[str, np.ndarray]:
    """The errors of estimates of p(c) during a stream.

    Args:
      estimators: {name: an estimator of `sampling.logq`}. Each one first estimates a batch, then learns it.
      popularity: the result of `drifting_popularity`.
      batches: length of the stream.
      batch_size: items of a batch, each drawn by the popularity of that moment.
      period: batches of one cycle of the popularity.
      seed: of the stream.

    Returns:
      {name: float64 [batches]}: √(Σ_c p(c) · (log p̂(c) − log p(c))²), the root mean square error of log p̂ that a
      batch's examples meet. 0.1 is an estimate that is 10% off.
    """
    def error(p: np.ndarray, log_estimate: np.ndarray) -> float:
        there = p > 0
        return np.sqrt(np.sum(p[there] * (log_estimate[there] - np.log(p[there])) ** 2))

    return _measured(error, estimators, popularity, batches, batch_size, period, seed)


def believed_of_the_gone(
    estimators: Mapping[str, StaticCorrection | StreamingCorrection], popularity: Callable[[float], np.ndarray],
    batches: int, batch_size: int, period: float, seed: int = 0,
) -> dict[str, np.ndarray]:
    """The probability that estimates give to dead items: {name: float64 [batches]}, Σ p̂(c) over p(c) = 0.

    Args: as of `tracking_errors`.
    """
    def believed(p: np.ndarray, log_estimate: np.ndarray) -> float:
        return np.exp(log_estimate[p == 0]).sum()

    return _measured(believed, estimators, popularity, batches, batch_size, period, seed)


def _measured(
    measure: Callable[[np.ndarray, np.ndarray], float],
    estimators: Mapping[str, StaticCorrection | StreamingCorrection], popularity: Callable[[float], np.ndarray],
    batches: int, batch_size: int, period: float, seed: int,
) -> dict[str, np.ndarray]:
    """{name: measure(p, log p̂) at each batch, before it is learned}."""
    rng = np.random.default_rng(seed)
    every = tf.range(len(popularity(0.0)))
    found = {name: np.zeros(batches) for name in estimators}
    asks = {name: _compiled(e, every, 1, False) for name, e in estimators.items()}
    drawn = tf.Variable(tf.zeros([batch_size], tf.int32))
    learns = {name: _compiled(e, drawn, batch_size, True) for name, e in estimators.items()}
    for step in range(batches):
        p = popularity(step / period)
        drawn.assign(rng.choice(len(p), batch_size, p=p))
        for name in estimators:
            found[name][step] = measure(p, asks[name]().numpy())
            learns[name]()
    return found


def _compiled(
    estimator: StaticCorrection | StreamingCorrection, rows: tf.Tensor | tf.Variable, batch_size: int, training: bool
) -> Callable[[], tf.Tensor]:
    return tf.function(lambda: estimator.log_expected_count(tf.identity(rows), batch_size, training))
