"""NeuralCF on MovieLens-100K: an MLP on both towers' vectors rescores the first hundred (He et al. 2017).

    twotower train neural_cf

The towers are those of the recipe `movielens`. The MLP reads [u, v, u ⊙ v], and no index can search with it. So it is
trained beside the towers, and rescores the items that they retrieve, inside the SavedModel. About three minutes on two
cores. The table at the end lists the retrieval alone beside the reranked answers. Expect the two to be close: an inner
product of good vectors is hard to beat (Rendle et al. 2020).
"""

import dataclasses

from tfrs_twotower.recipe import Recipe
from tfrs_twotower.recipes import movielens
from tfrs_twotower.rerankers import NeuralCF


def recipe() -> Recipe:
    """The recipe."""
    base = movielens.recipe()
    return dataclasses.replace(base, name="neural_cf", model=dataclasses.replace(base.model, reranker=NeuralCF()))
