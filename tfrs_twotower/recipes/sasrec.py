"""SASRec over the user's history (Kang and McAuley 2018): what will a person rate next, given their ratings in order.

    make train RECIPE=sasrec                         or: twotower train sasrec

The `hstu` recipe with another encoder: a causal Transformer, pre-norm, with biases for positions and pauses.
"""

import dataclasses

from tfrs_twotower.recipe import Recipe
from tfrs_twotower.recipes import hstu
from tfrs_twotower.towers import SASRec


def recipe() -> Recipe:
    """The recipe."""
    base = hstu.recipe()
    model = dataclasses.replace(base.model, query_encoder=SASRec(blocks=2, heads=2, feed_forward=2, dropout=0.2))
    return dataclasses.replace(base, name="sasrec", model=model)
