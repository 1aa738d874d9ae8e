"""What goes with the items of a past, as a part of the score that has a closed form."""

from typing import NamedTuple

import numpy as np

from tfrs_twotower.configuration import at_least, config
from tfrs_twotower.errors import ConfigError, invalid


@config
class Neighbours:
    """+ w · ⟨h, q⟩ in the score: h has the direction of the sum of a vector for each item of the user's past.

    The vectors factorise EASE's weights (`training.neighbours`). They stand beside the towers' vectors, so that one
    index finds the sum. The towers learn what is common; these weights remember rare pairs, and all of a long past.

    Attributes:
      dim: length of the vectors.
      penalties: λ of EASE, each above 0. Of several, the one with which this term and popularity alone rank validation
        best is kept.
      weights: w, each at least 0. Of several, validation chooses one after the training. An update keeps its parent's.
      length: the newest events of a past that count.
      items: the most frequent so many items have such vectors: the work grows with the cube of their number.
    """

    dim: int = 128
    penalties: tuple[float, ...] = (30.0, 300.0, 3000.0)
    weights: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0)
    length: int = 500
    items: int = 5_000

    def __post_init__(self) -> None:
        for name in ("dim", "length", "items"):
            at_least(1, self, name)
        if not self.penalties or not all(0.0 < p < float("inf") for p in self.penalties):
            rule = "hold numbers above 0"
            raise ConfigError(invalid("Neighbours.penalties", rule, self.penalties, "For no such term: null."))
        if not self.weights or not all(0.0 <= w < float("inf") for w in self.weights):
            rule, way_out = "hold numbers that are at least 0", "For no such term write neighbours=null."
            raise ConfigError(invalid("Neighbours.weights", rule, self.weights, way_out))


class NeighbourVectors(NamedTuple):
    """The closed form's vectors, a row for each item of the catalogue; zeros for rare items.

    past: float32 [n, dim], summed over the items of a past; the sum is scaled to the length √dim.
    items: float32 [n, dim], of the items that are ranked.
    """

    past: np.ndarray
    items: np.ndarray
