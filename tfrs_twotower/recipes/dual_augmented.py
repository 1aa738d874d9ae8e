"""Dual augmented towers on MovieLens-100K: each tower also reads a summary of the other tower's vectors (DAT).

    twotower train dual_augmented

One to two minutes on two cores. Every user and every film has an `Augmented` vector among its tower's inputs. A mimic
loss pulls it towards the other tower's vectors of its positives, and a second loss aligns the genres (the first that
a film names) with the most frequent one (Yu et al. 2021, Meituan).
"""

import dataclasses

from tfrs_twotower.features import Augmented, Derived
from tfrs_twotower.models import CategoryAlignment, Mimic
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.recipes import movielens


def recipe() -> Recipe:
    """The recipe."""
    base = movielens.recipe()
    query, candidate = (Augmented(column, dim=base.model.dim) for column in ("user_id", "item_id"))
    return dataclasses.replace(
        base,
        name="dual_augmented",
        schema=dataclasses.replace(  # type: ignore[type-var]  # it has one
            base.schema,
            query=(*base.schema.query, query),
            candidate=(*base.schema.candidate, candidate),
        ),
        derived=Derived(query=(query,), candidate=(candidate,)),
        model=dataclasses.replace(base.model, auxiliary=(Mimic(), CategoryAlignment())),
    )
