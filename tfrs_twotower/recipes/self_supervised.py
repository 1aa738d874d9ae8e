"""The item tower also learns to recognise an item from half of its features (Yao et al. 2021), which helps rare items.

    twotower train self_supervised

MovieLens-100K, as the recipe `movielens`, with a contrastive loss: two views of an item must be nearer to each other
than to other items' views. In each view, correlated features are masked. The items of this loss are drawn uniformly,
so that it trains rare films as often as popular ones. Some minutes on two cores.
"""

import dataclasses

from tfrs_twotower.models import SelfSupervision
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.recipes import movielens


def recipe() -> Recipe:
    """The recipe."""
    base = movielens.recipe()
    model = dataclasses.replace(base.model, auxiliary=(SelfSupervision(items=256, weight=0.1),))
    return dataclasses.replace(base, name="self_supervised", model=model)
