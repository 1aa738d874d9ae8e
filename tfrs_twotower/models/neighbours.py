"""The similarity to the items of the history, as a term of the score in closed form."""

from typing import Annotated, NamedTuple

import numpy as np

from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import Count, Counts, MinLength, NotNegative, Positive, Weights

_LEAVE_OUT = "For no such term write neighbours=null."


@config
class Neighbours:
    """+ w · ⟨h, q⟩ in the score: h has the direction of the sum of a vector for each item of the user's history.

    The vectors factorise EASE's weights (`training.neighbours`). They are appended to the towers' vectors, so that one
    index searches by the sum of both terms. The towers learn frequent patterns. These weights keep rare pairs of items,
    and all of a long history.

    Attributes:
      dim: length of the vectors. If there are several, the next longer one is kept if it ranks validation better by
        more than a standard error. A longer one keeps more of the weights, and takes more room in the index.
      penalties: λ of EASE, ascending, each above 0. If there are several, the one is kept with which this term ranks
        validation best, by itself or with popularity. A climb from the middle one finds it.
      user_power: p of the weight m^−p of a user with m items.
      item_powers: p of the factor c^−p of an item that c users have, ascending. Above 0, frequent items get smaller
        scores. If there are several, the next larger one is kept if it is better as a longer `dim` must be.
      weights: w, each at least 0. If there are several, validation chooses one after the training. An update keeps
        its parent's.
      length: the number of newest events of a history that count.
      items: only this number of the most frequent items have such vectors. The work grows with its cube.
    """

    dim: Annotated[Count | Counts, _LEAVE_OUT] = (128, 512, 1024)
    penalties: Annotated[tuple[Positive, ...], MinLength(1), _LEAVE_OUT] = (30.0, 100.0, 300.0, 1000.0, 3000.0)
    user_power: NotNegative = 0.5
    item_powers: Annotated[Weights, _LEAVE_OUT] = (0.0, 0.1, 0.2)
    weights: Annotated[Weights, _LEAVE_OUT] = (0.0, 0.5, 1.0, 2.0, 4.0)
    length: Count = 500
    items: Count = 5_000

    @property
    def dims(self) -> tuple[int, ...]:
        """The lengths, ascending."""
        return tuple(sorted(self.dim)) if isinstance(self.dim, tuple) else (self.dim,)

    @property
    def has_choices(self) -> bool:
        """Whether a setting has several values, of which validation chooses one."""
        return max(len(self.penalties), len(self.item_powers), len(self.dims)) > 1


class NeighbourVectors(NamedTuple):
    """The closed form's vectors, one for each item of the catalogue; zeros for rare items.

    past: float32 [n, dim], summed over the items of a history; the sum is scaled to the length √dim.
    items: float32 [n, dim], of the items that are ranked.
    """

    past: np.ndarray
    items: np.ndarray
