"""YouTube DNN (Covington et al. 2016) on MovieLens-100K: pooled history, example age, softmax over the catalogue.

    twotower train youtube_dnn

The query tower reads the mean of the films watched, the profile and the *example age*: the time from the event to
the end of training, 0 when serving and in the evaluation of a split by time. So the model can tell earlier
popularity from the present one. There is no user id. The candidate side is one vector per film: the weights of a
softmax over the catalogue, sampled by popularity and corrected for it. The paper also averages the words of the last
searches. On a log with search words (a context column `query`) the query has `Searches` for them. MovieLens has none;
there the mean of the last five films replaces it: a mean of fifty films does not show the interest of the moment. It
takes about two minutes on two cores.
"""

import dataclasses

from tfrs_twotower.features import Category, Derived, History, Id, Number, Schema, Time
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.recipes import movielens
from tfrs_twotower.sampling import Popular, StaticLogQ
from tfrs_twotower.towers import MLP


def recipe() -> Recipe:
    """The recipe."""
    past = (History(length=50, pooling="mean"), History(length=5, pooling="decay"))
    example_age, item = Time("timestamp", parts=("recency",)), Id("item_id", dim=64)
    return dataclasses.replace(
        movielens.recipe(),
        name="youtube_dnn",
        schema=Schema(
            query=(*past, Number("age", transform="bucketise"), Category("gender"), example_age),
            candidate=(item,),
        ),
        derived=Derived(query=(*past, example_age), candidate=(item,), user_id=False, searches=True),
        model=ModelConfig(
            query_encoder=MLP(widths=(256, 128), dropout=0.3),
            candidate_encoder=MLP(widths=()),
            negatives=(Popular(count=1024),),
            logq=StaticLogQ(),
        ),
    )
