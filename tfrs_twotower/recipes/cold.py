"""COLD on MovieLens-100K: a light network on fields and their crosses rescores the first hundred (Wang et al. 2020).

    twotower train cold

The towers are those of the recipe `movielens`. The network reads each field of both sides, weighed by a gate, and the
inner products of person's and film's fields, such as the watched films' with the genres. About three minutes on
two cores. The table at the end lists the retrieval alone beside the reranked answers. `metrics.json` has the mean
gate of each field, `reranker_weights`. To read only the most important fields:

    twotower train cold --set 'model.reranker.features=["query/id_user_id", "candidate/id_item_id"]'
"""

import dataclasses

from tfrs_twotower.recipe import Recipe
from tfrs_twotower.recipes import movielens
from tfrs_twotower.rerankers import COLD


def recipe() -> Recipe:
    """The recipe."""
    base = movielens.recipe()
    return dataclasses.replace(base, name="cold", model=dataclasses.replace(base.model, reranker=COLD()))
