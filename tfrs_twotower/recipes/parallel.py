"""Parallel towers on MovieLens-100K: MLP ∥ DCN-v2 ∥ CIN ∥ FM, folded into one inner product (as in QQ Browser's
retrieval).

    twotower train parallel

About two minutes on two cores. Each branch makes a vector of 64 dimensions on either side. The learned weights, one
for each dimension, are part of the query's vector, so one index searches the weighted sum.
"""

import dataclasses

from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.recipes import movielens
from tfrs_twotower.towers import CIN, DCN, MLP, FMCandidate, FMQuery, ParallelCandidate, ParallelQuery


def recipe() -> Recipe:
    """The recipe."""
    branches = (MLP(widths=(128,), dropout=0.3), DCN(layers=2), CIN())
    return dataclasses.replace(
        movielens.recipe(),
        name="parallel",
        model=ModelConfig(
            dim=256,
            query_encoder=ParallelQuery(branches=(*branches, FMQuery())),
            candidate_encoder=ParallelCandidate(branches=(*branches, FMCandidate())),
            similarity="dot",
        ),
    )
