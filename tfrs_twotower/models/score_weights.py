"""The weights of the terms of the score beside the towers' ⟨u, v⟩ / τ, and how validation chooses them."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


def middle(choices: Sequence[float]) -> float:
    """The weight from which validation's choice among several starts."""
    return choices[len(choices) // 2]


def climbed(choices: Sequence[float], value: Callable[[float], float]) -> float:
    """One of several, ascending, whose `value` is above those beside it. The search climbs from the middle one."""
    value, at = functools.cache(value), len(choices) // 2
    while True:
        beside = range(max(at - 1, 0), min(at + 2, len(choices)))
        highest = max((at, *beside), key=lambda place: value(choices[place]))
        if highest == at:
            return choices[at]
        at = highest


def clearly_better(one: np.ndarray, other: np.ndarray, least: float = 0.0) -> bool:
    """Whether the mean of `one` is above that of `other` by more than a standard error, and than `least`.

    one, other: float [q], of the same queries; NaN where a query says nothing.
    """
    more = one - other
    return bool(np.nanmean(more) > max(np.nanstd(more) / np.sqrt(np.isfinite(more).sum()), least))


class ScoreWeights(NamedTuple):
    """⟨u, v⟩ / τ + `popularity` · log p(item) + `neighbours` · ⟨h, q⟩ + `repeats` · the value of `Repeated`.

    h and q are those of `NeighbourVectors`.
    """

    popularity: float = 0.0
    neighbours: float = 0.0
    repeats: float = 0.0
