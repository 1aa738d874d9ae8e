"""The weights of a tower's fields, if the encoder weighs them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tfrs_twotower.towers import Tower

_ROWS = 4096  # more rows would not change the mean


def field_weights(
    tower: "Tower", gather: Callable[[np.ndarray], dict[str, Any]], rows: np.ndarray | Sequence[int]
) -> dict[str, float]:
    """{field name: the mean of its weights}; empty for an encoder without such weights (`SENet` has them).

    Args:
      tower: a `Tower`.
      gather: function from rows to encoded features.
      rows: int [n]; at most 4,096 of them are read, spread evenly.
    """
    if not hasattr(tower.encoder, "field_weights") or not len(rows):
        return {}
    spread = np.asarray(rows)[np.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).astype(int)]
    return {name: float(np.mean(weights)) for name, weights in tower.field_weights(gather(spread)).items()}
