"""Facebook's embedding-based retrieval (Huang et al. 2020) on MovieLens-100K: triplet hinge, hard negatives, ensemble.

    twotower train facebook_ebr

Two models are trained side by side, both by the triplet hinge. One has random films as negatives. The other also has
films that it ranks 101 to 500 itself: one for about a hundred random ones, found anew every 100 steps. Their weighted
vectors are concatenated, so that one index serves the ensemble. It takes about four minutes on two cores. A hinge
learns an order within a margin and no probabilities, so expect less than by `movielens`.
"""

import dataclasses

from tfrs_twotower.losses import TripletHinge
from tfrs_twotower.models import FixedTemperature
from tfrs_twotower.recipe import Member, Recipe
from tfrs_twotower.recipes import movielens
from tfrs_twotower.sampling import Hard, Uniform


def recipe() -> Recipe:
    """The recipe."""
    base = movielens.recipe()
    random = dataclasses.replace(
        base.model,
        loss=TripletHinge(margin=0.2),  # of a cosine
        temperature=FixedTemperature(1.0),
        negatives=(Uniform(512),),
    )
    hard = dataclasses.replace(random, negatives=(Uniform(512), Hard(count=5, first=101, last=500, refresh_steps=100)))
    return dataclasses.replace(base, name="facebook_ebr", model=random, ensemble=(Member(hard, weight=1.0),))
