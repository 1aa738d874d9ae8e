"""DSSM on MovieLens-100K: MLP towers, cosine, titles as hashed letter trigrams (Huang et al. 2013).

    twotower train dssm

One to three minutes on two cores. As in the paper, each tower has two tanh layers, and the loss is a softmax of the
cosine over the positive and shared random negatives. A new film without events gets its vector from the trigrams that
its title shares with others. For a script without spaces use Text(..., analyser="characters").
"""

import dataclasses

from tfrs_twotower.features import Derived, Text
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.recipes import movielens
from tfrs_twotower.sampling import InBatch, Uniform
from tfrs_twotower.towers import MLP


def recipe() -> Recipe:
    """The recipe."""
    base = movielens.recipe()
    candidate = tuple(
        Text("movie_title", analyser="trigrams") if isinstance(feature, Text) else feature
        for feature in base.schema.candidate
    )
    tower = MLP(widths=(300, 300), activation="tanh", dropout=0.3)
    return dataclasses.replace(
        base,
        name="dssm",
        schema=dataclasses.replace(base.schema, candidate=candidate),  # type: ignore[type-var]  # it has one
        derived=Derived(text="trigrams"),
        model=ModelConfig(
            dim=128, query_encoder=tower, candidate_encoder=tower, negatives=(InBatch(), Uniform(count=256)),
        ),
    )
