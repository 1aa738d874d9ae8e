"""A ranker teaches the towers with soft labels over shared candidates; the towers alone are served.

    twotower train distilled

MovieLens-100K, as the recipe `movielens`. Beside the towers there is an MLP over both sides' features and u ⊙ v, with
which no index could search. It is trained with the towers, on the row's positive and 64 items drawn uniformly. The
towers learn its scores of the same items by their divergence (Hinton et al. 2015), in the manner of ranking
distillation (Tang and Wang 2018). Some minutes on two cores. The result is at the level of `movielens`.
"""

import dataclasses

from tfrs_twotower.models import Distillation
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.recipes import movielens


def recipe() -> Recipe:
    """The recipe."""
    base = movielens.recipe()
    model = dataclasses.replace(base.model, auxiliary=(Distillation(candidates=64, widths=(64, 32)),))
    return dataclasses.replace(base, name="distilled", model=model)
