"""The words that users searched for: those of events, and of searches that chose no item."""

import numpy as np
import pyarrow as pa

from tfrs_twotower.columns import ITEM_ID, QUERY
from tfrs_twotower.data import wide
from tfrs_twotower.data.history import UserHistories
from tfrs_twotower.data.log import InteractionLog


class UserSearches:
    """The users' searches in the order of time: events with words in the context column `query`, and `log.searched`.

    Args:
      log: an `InteractionLog` with that column.
      visible: bool [log rows] or None: the events that may be read.

    Attributes:
      texts: object [texts]: the distinct words; the last one is "".
    """

    def __init__(self, log: InteractionLog, visible: np.ndarray | None = None) -> None:
        alone, n = log.searched, len(log)
        words = pa.concat_arrays([wide.one(log.context[QUERY]).cast(pa.string()), alone.query]).dictionary_encode()
        self.texts = np.array([*words.dictionary.to_pylist(), ""], object)
        number = words.indices.fill_null(len(self.texts) - 1).to_numpy(zero_copy_only=False)
        shows = (self.texts != "")[number]
        shows[:n] &= True if visible is None else visible
        time = np.concatenate([log.timestamp, alone.timestamp])
        order = np.argsort(time, kind="stable")
        self._place = np.empty(len(order), np.int64)
        self._place[order] = np.arange(len(order))
        searches = InteractionLog(  # whose items are the texts
            np.concatenate([log.user, alone.user])[order], number[order].astype(np.int32), time[order],
            np.broadcast_to(np.float32(1), len(order)), pa.table({}), log.users,
            pa.table({ITEM_ID: pa.array(range(len(self.texts)), pa.int64())}),
        )
        self._history = UserHistories(searches, shows[order])

    def before(self, rows: np.ndarray, length: int) -> np.ndarray:
        """int [rows, length]: places in `texts` of the last searches before log rows; that of "" pads the end."""
        found, _ = self._history.before(self._place[rows], length)
        return np.where(found >= 0, found, len(self.texts) - 1)

    def latest(self, users: np.ndarray, length: int) -> list[np.ndarray]:
        """The words of the last searches of each user, a row of the user table; none of -1."""
        found, _ = self._history.latest(np.maximum(users, 0), length)
        return [self.texts[row[row >= 0]] if user >= 0 else self.texts[:0] for user, row in zip(users, found)]
