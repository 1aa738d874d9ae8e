"""The item tower also learns to know an item by half of its features (Yao et al. 2021), for the tail's sake.

    twotower train self_supervised

MovieLens-100K, as the recipe `movielens`, and beside it a contrastive loss: two views of an item, in each of which
features that go together are masked, must be nearer to each other than to other items' views. The items of this loss
are drawn uniformly, so that rarely watched films are learned from as often as popular ones. Some minutes on two cores.
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
