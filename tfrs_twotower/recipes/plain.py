"""Your own files: an interaction log, and the user and item tables if you have them; all else is chosen by the log.

    twotower train plain --interactions log.parquet --items items.csv \\
        --user-id customer --item-id sku --timestamp bought_at

The features of both towers are derived from the columns: numbers, categories, texts, lists. Candidates are raced, and
the one that ranks the validation queries best trains on (`racing.py`): one reads the events in their order, and one
takes the mean of their vectors. `--minutes` bounds the time. What was chosen stands in the run's config.json,
and `twotower train RUN/config.json` uses just that. What popularity weighs in the score, validation chooses too: where
people come back after long, or say little, the towers alone are below popularity.
"""

from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.recipe import ModelConfig, Race, Recipe
from tfrs_twotower.training import TrainingConfig

_POPULARITY = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
_HALF_LIVES = (None, 90.0, 30.0, 7.0, 1.0)
_QUERIES = 2_000  # that judge an epoch


def recipe():
    """The recipe; its source comes from the command line, or frames are handed to the `Recommender`."""
    return Recipe(
        name="plain",
        model=ModelConfig(popularity_weights=_POPULARITY, popularity_half_lives=_HALF_LIVES),
        training=TrainingConfig(epochs=60),
        evaluation=EvaluationConfig(validation_queries=_QUERIES),
        race=Race(),
    )
