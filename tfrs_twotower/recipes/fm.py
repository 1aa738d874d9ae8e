"""Factorisation machine as two towers on MovieLens-100K (Rendle 2010): no hidden layer.

    twotower train fm

About a minute on two cores. The inner product of the two vectors is the factorisation machine's score over all
fields of both towers, so an index searches a model that is usually kept for ranking.
"""

import dataclasses

from tfrs_twotower.models import FixedTemperature
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.recipes import movielens
from tfrs_twotower.towers import FMCandidate, FMQuery


def recipe() -> Recipe:
    """The recipe."""
    return dataclasses.replace(
        movielens.recipe(),
        name="fm",
        model=ModelConfig(
            dim=66,  # 64 factors
            query_encoder=FMQuery(),
            candidate_encoder=FMCandidate(),
            similarity="dot",
            temperature=FixedTemperature(1.0),
        ),
    )
