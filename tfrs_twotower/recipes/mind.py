"""MIND on MovieLens-100K: several interests of one person, by dynamic routing (Li et al. 2019).

    twotower train mind

A query is four vectors, and a film's score is that of the best. ComiRec (Cen et al. 2020), with self-attention
in place of routing, is one setting:

    twotower train mind --set 'model.query_encoder={"type": "ComiRec", "interests": 4}'

About two minutes on two cores. `metrics.json` has the similarity of the interests: `interests.cosine` of two
vectors, and `interests.overlap` of their first ten films.
"""

import dataclasses

from tfrs_twotower.features import Derived, History, Sequence
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.recipes import movielens
from tfrs_twotower.towers import MIND, MLP


def recipe() -> Recipe:
    """The recipe."""
    base = movielens.recipe()
    others = tuple(feature for feature in base.schema.query if not isinstance(feature, History))
    past = (History(length=5), Sequence(length=50))
    schema = dataclasses.replace(base.schema, query=(*others, *past))  # type: ignore[type-var]  # it has one
    model = ModelConfig(
        query_encoder=MIND(hidden=MLP(widths=(128,), dropout=0.3)),
        candidate_encoder=base.model.candidate_encoder,
    )
    return dataclasses.replace(base, name="mind", schema=schema, derived=Derived(query=past), model=model)
