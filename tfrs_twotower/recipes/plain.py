"""Your own files: an interaction log, and the user and item tables if you have them; defaults for the rest.

    twotower train plain --interactions log.parquet --items items.csv \\
        --user-id customer --item-id sku --timestamp bought_at

The features of both towers are derived from the columns: numbers, categories, texts, lists. The time of a request
and columns of the events are read when a recipe names them. The log is all there is, so logQ counts it: a streaming
estimate would begin with nothing. What popularity weighs in the score, validation chooses: where people come back after
long, or say little, the towers alone are below popularity.
"""

from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.sampling import StaticLogQ

_POPULARITY = (0.0, 0.25, 0.5, 0.75, 1.0)


def recipe():
    """The recipe; its source comes from the command line, or frames are handed to the `Recommender`."""
    return Recipe(name="plain", model=ModelConfig(logq=StaticLogQ(), popularity_weights=_POPULARITY))
