"""Your own files: an interaction log, and the user and item tables if you have them; the log chooses the settings.

    twotower train plain --interactions log.parquet --items items.csv \\
        --user-id customer --item-id sku --timestamp bought_at

The features of both towers are derived from the columns: numbers, categories, texts, lists. Two candidates are raced
(`pipeline/racing.py`): one reads the events in order, the other takes a mean of their vectors. The one that ranks the
validation queries best trains on. `--minutes` sets about how long all takes. The run's config.json holds what was
chosen, and `twotower train RUN/config.json` uses just that. Validation also chooses the weights of what stands beside
the towers in the score. Popularity: where people come back after a long time, or leave few events, the towers alone
rank worse. Neighbours: the towers forget rare pairs of items and long pasts. Repeats, where people come back to the
same items.
"""

from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.models import Neighbours, Repeats
from tfrs_twotower.recipe import ModelConfig, Race, Recipe
from tfrs_twotower.training import TrainingConfig

_POPULARITY = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
_HALF_LIVES = (None, 90.0, 30.0, 7.0, 1.0)
_QUERIES = 2_000  # that evaluate an epoch


def recipe() -> Recipe:
    """The recipe; its source comes from the command line, or frames are handed to the `Recommender`."""
    return Recipe(
        name="plain",
        model=ModelConfig(
            popularity_weights=_POPULARITY, popularity_half_lives=_HALF_LIVES, neighbours=Neighbours(),
            repeats=Repeats(),
        ),
        training=TrainingConfig(epochs=60),
        evaluation=EvaluationConfig(validation_queries=_QUERIES),
        race=Race(),
    )
