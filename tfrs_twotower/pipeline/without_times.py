"""Recipes on a log without times: they may not use an order or a time."""

import dataclasses

from tfrs_twotower.columns import TIMESTAMP
from tfrs_twotower.data import RandomPerUser, Temporal
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import History, ItemStatistic, Preprocessed, Sequence, Time, UserStatistic
from tfrs_twotower.recipe import Recipe

_RANDOM = """use the split RandomPerUser: --set 'split={"type": "RandomPerUser"}'"""
_WAY_OUT = "Name the time's column (`--timestamp COLUMN`, in Python `Columns(timestamp=...)`), or"


def without_times(recipe: Recipe) -> Recipe:
    """The recipe with `RandomPerUser` in place of `Temporal`, with the same fractions.

    Raises:
      ConfigError: the split, a feature or the training reads times or their order.
    """
    split = recipe.split
    if isinstance(split, Temporal):
        split = RandomPerUser(split.validation, split.test)
    if split.reads_times:
        raise _needs(f"split={type(split).__name__}", _RANDOM)
    features = (*recipe.schema.query, *recipe.schema.candidate) if recipe.schema else (
        *recipe.derived.query, *recipe.derived.candidate)
    for feature in features:
        if isinstance(feature, (ItemStatistic, UserStatistic)):
            raise _needs(f"`{feature.name}` of the schema", "leave it out")
    for feature in recipe.schema.query if recipe.schema else ():
        ordered = isinstance(feature, Preprocessed) and (feature.reads_past or TIMESTAMP in feature.columns)
        if ordered or isinstance(feature, (Sequence, Time)):
            raise _needs(f"`{feature.name}` of `schema.query`", "train a recipe without it, such as `plain`")
        if isinstance(feature, History) and feature.pooling == "decay":
            raise _needs(f"`{feature.name}` of `schema.query`", "use History(pooling='mean')")
    if recipe.training.order == "time":
        raise _needs("training.order='time'", "leave it at its default")
    if recipe.training.events.half_life_days is not None:
        raise _needs("training.events.half_life_days", "leave it at its default")
    return dataclasses.replace(recipe, split=split)


def _needs(what: str, otherwise: str) -> ConfigError:
    return ConfigError(f"The log has no times, and {what} needs them. {_WAY_OUT} {otherwise}.")
