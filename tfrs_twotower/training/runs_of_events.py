"""Runs of alike events (`PastFeature.merge`), of which a window of a sequence model has one event each."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.data.ragged import ranges
from tfrs_twotower.features import SequenceField

_BLOCK = 2**20  # events that are compared at a time


class Runs:
    """The runs among the users' events that another event follows: each user's but the last.

    Args:
      field: says which events make a run; see `PastField.goes_on`.
      index: int32 [n], the items of the users' events as rows of their table, a user's one after another by time.
      user: int [n], the user of each event; users are in ascending order.

    Attributes:
      user: int [runs], in ascending order.
    """

    def __init__(self, field: SequenceField, index: np.ndarray, user: np.ndarray) -> None:
        followed = np.append(user[1:] == user[:-1], False)
        alike = np.zeros(len(index), bool)
        for start in range(0, len(index), _BLOCK):
            block = tf.constant(index[np.newaxis, start:start + _BLOCK + 1])
            alike[start:start + _BLOCK] = field.goes_on(block)[0, :_BLOCK].numpy()
        goes_on = alike & followed & np.append(followed[1:], False)
        place = np.flatnonzero(followed)
        first = np.flatnonzero(~np.append(False, goes_on[:-1])[place])
        self._start, self._length = place[first], np.diff(np.append(first, len(place)))
        self.user = user[self._start]

    def drawn(self, rng: np.random.Generator) -> np.ndarray:
        """int64 [runs]: the place of one event of each run; each event of a run is equally likely."""
        return self._start + (rng.random(len(self._start)) * self._length).astype(np.int64)

    def asked(self) -> tuple[np.ndarray, np.ndarray]:
        """(int64 [any], float64 [any]): the places of the events behind the drawn ones, and the probability of each."""
        return ranges(self._start, self._start + self._length) + 1, np.repeat(1 / self._length, self._length)
