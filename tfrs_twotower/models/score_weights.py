"""What stands in the score beside the towers' ⟨u, v⟩ / τ, and how much each weighs."""

from typing import NamedTuple


class ScoreWeights(NamedTuple):
    """The score is ⟨u, v⟩ / τ + `popularity` · log p(item) + `repeats` · the value of `Repeated`."""

    popularity: float = 0.0
    repeats: float = 0.0
