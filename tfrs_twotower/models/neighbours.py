"""What goes with the items of a past, as a part of the score that has a closed form."""

from typing import Annotated, NamedTuple

import numpy as np

from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import Count, Counts, MinLength, Positive, Weights

_LEAVE_OUT = "For no such term write neighbours=null."


@config
class Neighbours:
    """+ w · ⟨h, q⟩ in the score: h has the direction of the sum of a vector for each item of the user's past.

    The vectors factorise EASE's weights (`training.neighbours`). They stand beside the towers' vectors, so that one
    index finds the sum. The towers learn what is common; these weights remember rare pairs, and all of a long past.

    Attributes:
      dim: length of the vectors. Of several, the next longer one is kept if it ranks validation better by more than a
        standard error: it keeps more of the weights, and takes more room in the index.
      penalties: λ of EASE, ascending, each above 0. Of several, the one with which this term and popularity alone rank
        validation best is kept, as a climb from the middle one finds it.
      weights: w, each at least 0. Of several, validation chooses one after the training. An update keeps its parent's.
      length: the newest events of a past that count.
      items: the most frequent so many items have such vectors: the work grows with the cube of their number.
    """

    dim: Annotated[Count | Counts, _LEAVE_OUT] = (128, 512, 1024)
    penalties: Annotated[tuple[Positive, ...], MinLength(1), _LEAVE_OUT] = (30.0, 100.0, 300.0, 1000.0, 3000.0)
    weights: Annotated[Weights, _LEAVE_OUT] = (0.0, 0.5, 1.0, 2.0, 4.0)
    length: Count = 500
    items: Count = 5_000

    @property
    def dims(self) -> tuple[int, ...]:
        """The lengths, ascending."""
        return tuple(sorted(self.dim)) if isinstance(self.dim, tuple) else (self.dim,)


class NeighbourVectors(NamedTuple):
    """The closed form's vectors, a row for each item of the catalogue; zeros for rare items.

    past: float32 [n, dim], summed over the items of a past; the sum is scaled to the length √dim.
    items: float32 [n, dim], of the items that are ranked.
    """

    past: np.ndarray
    items: np.ndarray
