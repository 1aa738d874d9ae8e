"""SENet towers on MovieLens-100K: each example weighs its fields before the MLP (Hu et al. 2018, Huang et al. 2019).

    twotower train senet

One to two minutes on two cores. The mean weight of each field is printed at the end, and by `twotower inspect`: a
field near 0 hardly counts and may be left out.
"""

import dataclasses

from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.recipes import movielens
from tfrs_twotower.towers import MLP, SENet


def recipe() -> Recipe:
    """The recipe."""
    tower = SENet(encoder=MLP(widths=(128,), dropout=0.3))
    return dataclasses.replace(
        movielens.recipe(), name="senet", model=ModelConfig(query_encoder=tower, candidate_encoder=tower)
    )
