"""GRU4Rec over the user's history (Hidasi et al. 2016): what will a person rate next, given their ratings in order.

    make train RECIPE=gru4rec                        or: twotower train gru4rec

The `hstu` recipe with another encoder: a gated recurrent network.
"""

import dataclasses

from tfrs_twotower.recipe import Recipe
from tfrs_twotower.recipes import hstu
from tfrs_twotower.towers import GRU4Rec


def recipe() -> Recipe:
    """The recipe."""
    base = hstu.recipe()
    model = dataclasses.replace(base.model, query_encoder=GRU4Rec(units=(64,), dropout=0.2))
    return dataclasses.replace(base, name="gru4rec", model=model)
