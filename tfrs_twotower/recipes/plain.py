"""Your own files: an interaction log, and the user and item tables if you have them; the log chooses the settings.

    twotower train plain --interactions log.parquet --items items.csv \\
        --user-id customer --item-id sku --timestamp bought_at

The features of both towers are derived from the columns: numbers, categories, texts, lists. Two candidates are raced
(`pipeline/racing.py`): one reads the events in order, the other takes a mean of their vectors. The one that ranks the
validation queries best is trained further. `--minutes` sets the time of all of it, roughly. The run's config.json has
the chosen settings, and `twotower train RUN/config.json` uses them without a race.

Validation also chooses the weights of three more terms of the score. Popularity helps if people come back after a long
time, or have few events. Neighbours keep rare pairs of items and long histories, which the towers forget. Repeats help
if people come back to the same items.
"""

from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.models import Neighbours, Repeats
from tfrs_twotower.recipe import ModelConfig, Race, Recipe
from tfrs_twotower.training import TrainingConfig

_POPULARITY = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
_HALF_LIVES = (None, 90.0, 30.0, 7.0, 1.0)
_QUERIES = 2_000  # the validation queries of an epoch


def recipe() -> Recipe:
    """The recipe; its source comes from the command line, or the `Recommender` gets frames."""
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
