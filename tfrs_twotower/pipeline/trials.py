"""Trials of settings, one after the other, within a time."""

import math
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from tfrs_twotower import progress

_Value = TypeVar("_Value")


class Trials:
    """A time for trials, and a bar that they move.

    Args:
      seconds: for all trials together. inf: no limit.
      advance: of a `progress.bar`.
      now: the clock, in seconds.

    Attributes:
      advance, now: as given.
      limited: whether `seconds` are a limit.
      untried: what had no time, in words.
    """

    def __init__(
        self, seconds: float = math.inf, advance: Callable[..., None] = progress.unseen,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limited, self.advance, self.now = math.isfinite(seconds), advance, now
        self._until = now() + seconds
        self.untried: list[str] = []

    def begins(self, what: str, seconds: float) -> bool:
        """Whether a trial that takes so many seconds would end in time. Otherwise `untried` names it."""
        if self.now() + seconds <= self._until:
            return True
        if what not in self.untried:
            self.untried.append(what)
        return False

    def best(self, what: str, choices: Sequence[_Value], value: Callable[[_Value], float]) -> _Value:
        """The choice of the largest value, of those that are tried; of equal ones the first.

        The first is always tried. Another one is if it ends in time at the speed of the slowest one before it.
        """
        slowest, values = 0.0, {}
        for choice in choices:
            if values and not self.begins(what, slowest):
                break
            begun = self.now()
            values[choice] = value(choice)
            slowest = max(slowest, self.now() - begun)
            self.advance()
        return max(values, key=values.__getitem__)
