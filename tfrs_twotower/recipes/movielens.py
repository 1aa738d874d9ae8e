"""MovieLens-100K: what will a person rate next, from 1,682 films.

    make train                                              or: twotower train movielens

943 people, 100,000 ratings of 1997 and 1998, split by time. A rating of any height counts as "watched": the
task is to predict which films people watch, not which they like. The ScaNN index is an example; exact search
would do for so few films.
"""

from tfrs_twotower.data import MovieLens
from tfrs_twotower.features import Category, History, Id, MultiValue, Number, Schema, Text, Time
from tfrs_twotower.index import IndexConfig
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.towers import MLP
from tfrs_twotower.training import TrainingConfig


def recipe() -> Recipe:
    """The recipe."""
    return Recipe(
        name="movielens",
        source=MovieLens("100k"),
        title="movie_title",
        schema=Schema(
            query=(
                Id("user_id"),
                History(length=50, pooling="decay", half_life_days=30.0),
                History(length=5, pooling="mean"),  # the mood of the hour, beside the taste of years
                Number("age", transform="bucketise"),
                Category("gender"),
                Category("occupation"),
                Time("timestamp", parts=("hour", "weekday", "recency")),
            ),
            candidate=(
                Id("item_id"),
                Text("movie_title", analyser="words"),
                MultiValue("movie_genres"),
                Number("release_year", transform="bucketise"),
            ),
        ),
        model=ModelConfig(
            query_encoder=MLP(widths=(128,), dropout=0.3), candidate_encoder=MLP(widths=(128,), dropout=0.3)
        ),
        training=TrainingConfig(batch_size=1024, epochs=30),
        index=IndexConfig(kind="scann"),
    )
