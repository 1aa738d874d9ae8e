"""Shows new items to a share of the traffic, to learn which of them are good."""

import threading
from collections.abc import Callable
from typing import Annotated

import numpy as np

from tfrs_twotower.coldstart.exposures import Exposures
from tfrs_twotower.coldstart.policies import EpsilonGreedy, Thompson
from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import Count, Share


@config
class Exploration:
    """The settings of exploration.

    Attributes:
      policy: `Thompson` or `EpsilonGreedy`.
      share: the share of the requests that explore, from 0 to 1.
      cap: the largest number of showings of an item, to all users together. After it only the towers recommend it.
    """

    policy: Thompson | EpsilonGreedy = Thompson()
    share: Annotated[Share, "0.05 is one in twenty."] = 0.05
    cap: Count = 1000


class Explorer:
    """Proposes new items. Threads may share one; processes may share its `Exposures`.

    Of the first t requests of a process exactly ⌊t · share⌋ explore, and no item is proposed more often than `cap`
    over all processes. Every proposal counts as shown, so request only as many as will be shown.

    Args:
      exposures: an `Exposures`.
      settings: an `Exploration`.
      seed: of the policy's draws; None draws one.
    """

    def __init__(self, exposures: Exposures, settings: Exploration = Exploration(), seed: int | None = None) -> None:
        self.exposures, self.settings = exposures, settings
        self._random = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._requests = 0

    def choose(
        self, n: int, user_id: str = "", admits: Callable[[list[str]], list[bool]] | None = None
    ) -> list[tuple[str, float]]:
        """At most n new items for one request: a list of (item id, score); [] for a request that does not explore.

        Args:
          n: the number of items that will be shown.
          user_id: the user, by the same id as in the clicks.
          admits: (list of item ids) → list of bool: may they be shown here? Other items are neither proposed nor
            counted. None: all may.

        Raises:
          StoreError: the exposures cannot be read or written.
        """
        with self._lock:
            if not self._explores():
                return []
            found = []

            def choose(ids: list[str], shown: np.ndarray, clicked: np.ndarray) -> list[int]:
                rows, scores = self.settings.policy.order(shown, clicked, self._random)
                good = admits(ids) if admits else [True] * len(ids)
                kept = [(row, score) for row, score in zip(rows, scores) if good[row]][:n]
                found.extend((ids[row], float(score)) for row, score in kept)
                return [row for row, _ in kept]

            self.exposures.show(user_id, self.settings.cap, choose)
            return found

    def _explores(self) -> bool:
        self._requests += 1
        share = self.settings.share
        # With 1e-9, so that ten tenths are one.
        return int(self._requests * share + 1e-9) > int((self._requests - 1) * share + 1e-9)
