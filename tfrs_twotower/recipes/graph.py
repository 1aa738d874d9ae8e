"""Item vectors from the graph of users and items (LightGCN's propagation), as a feature of the item tower.

    twotower train graph

MovieLens-100K, as the recipe `movielens`, with one more item feature. Its vectors are made before training, from
training events alone: vectors of users and items are propagated along the graph's edges three times. Some minutes on
two cores. A film without training events has none.
"""

import dataclasses

from tfrs_twotower.features import Derived, GraphVector, Schema
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.recipes import movielens


def recipe() -> Recipe:
    """The recipe."""
    base = movielens.recipe()
    graph = GraphVector(factors=64, layers=3)
    schema = Schema(base.schema.query, (*base.schema.candidate, graph))
    return dataclasses.replace(base, name="graph", schema=schema, derived=Derived(candidate=(graph,)))
