"""The weights of the terms of the score beside the towers' ⟨u, v⟩ / τ."""

from collections.abc import Sequence
from typing import NamedTuple


def middle(choices: Sequence[float]) -> float:
    """The weight from which validation's choice among several starts."""
    return choices[len(choices) // 2]


class ScoreWeights(NamedTuple):
    """⟨u, v⟩ / τ + `popularity` · log p(item) + `neighbours` · ⟨h, q⟩ + `repeats` · the value of `Repeated`.

    h and q are those of `NeighbourVectors`.
    """

    popularity: float = 0.0
    neighbours: float = 0.0
    repeats: float = 0.0
