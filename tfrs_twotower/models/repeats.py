"""A term of the score for items that users come back to: + w · (1 + log(1 + n)) for an item that the user had before.

n is the number of the user's earlier events with the item; an event that is `half_life` days old counts half. A vector
of a few hundred numbers cannot hold all of a user's items. This term holds them exactly.
"""

from typing import Annotated, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import Count, HalfLives, Weights

NONE = np.iinfo(np.int64).max  # the code of no item, larger than all others
_DAY = 86_400.0


@config
class Repeats:
    """The weights and half-lives of the term; validation chooses among several.

    It is used only if the evaluation counts repeats (`EvaluationConfig.exclude_seen`) and the log has times. The
    query needs a feature of the history.

    Attributes:
      length: the number of newest events of a history that count.
      weights: w, each at least 0. If there are several, validation chooses one after the training. An update keeps
        its parent's.
      half_lives: days, each above 0; None: all events count alike. If there are several, the one is kept with which
        the term and popularity alone rank validation best.
    """

    length: Count = 500
    weights: Annotated[Weights, "For no such term write repeats=null."] = (0.0, 2.0, 4.0, 8.0, 16.0, 32.0)
    half_lives: HalfLives = (None, 180.0, 90.0, 45.0)


class Repeated(NamedTuple):
    """The items of each query's history, each once.

    codes: int64 [batch, any], ascending in a row, padded with `NONE`.
    values: float32 [batch, any]: 1 + log(1 + n), 0 beside `NONE`.
    """

    codes: tf.Tensor
    values: tf.Tensor

    def of(self, codes: tf.Tensor) -> tf.Tensor:
        """float32 [batch, m]: the values of items `codes`, int64 [batch, m]; 0 for items outside of the history."""
        ordered = tf.pad(self.codes, [[0, 0], [0, 1]], constant_values=NONE)
        at = tf.minimum(tf.searchsorted(ordered, codes), tf.shape(ordered)[1] - 1)
        found = tf.gather(ordered, at, batch_dims=1) == codes
        values = tf.gather(tf.pad(self.values, [[0, 0], [0, 1]]), at, batch_dims=1)
        return tf.where(found, values, 0.0)


def repeated(
    codes: np.ndarray | tf.Tensor, times: np.ndarray | tf.Tensor, now: np.ndarray | tf.Tensor, half_life: float | None,
    length: int,
) -> Repeated:
    """The `Repeated` of histories.

    Args:
      codes: int64 [batch, n], the code of each event's item, oldest first; −1: no event.
      times: int64 [batch, n], seconds since 1970; 0 or less: unknown, counts as now.
      now: int64 [batch], the time of the request; 0 or less: that of the newest event.
      half_life: days, or None.
      length: the number of newest events that count.
    """
    there = codes != -1
    place = tf.range(1, tf.shape(codes)[1] + 1)
    last = tf.reduce_max(tf.where(there, place, 0), axis=1, keepdims=True)
    there &= place > last - length
    number = tf.cast(there, tf.float32)
    if half_life is not None:
        newest = tf.reduce_max(times, axis=1)  # also of an event with an unknown item
        now = tf.where(now > 0, now, newest)[:, tf.newaxis]
        age = tf.cast(tf.where(times > 0, tf.maximum(now - times, 0), 0), tf.float32)
        number *= 0.5 ** (age / (half_life * _DAY))
    codes = tf.where(there, codes, NONE)
    order = tf.argsort(codes, axis=1, stable=True)
    codes, number = (tf.gather(values, order, batch_dims=1) for values in (codes, number))
    first = tf.concat([tf.ones_like(codes[:, :1], tf.bool), codes[:, 1:] != codes[:, :-1]], axis=1)
    batch, width = tf.shape(codes)[0], tf.shape(codes)[1]
    item = tf.cumsum(tf.cast(first, tf.int32), axis=1) - 1 + width * tf.range(batch)[:, tf.newaxis]
    number = tf.reshape(tf.math.unsorted_segment_sum(number, item, batch * width), [batch, width])
    codes = tf.reshape(tf.math.unsorted_segment_max(codes, item, batch * width), [batch, width])
    there = (codes != NONE) & (codes != tf.int64.min)  # a segment without an item has the lowest number
    return Repeated(tf.where(there, codes, NONE), tf.where(there, 1.0 + tf.math.log1p(number), 0.0))
