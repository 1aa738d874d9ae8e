"""Tuning: a search for better settings of a recipe, evaluated on its validation queries alone."""

from tfrs_twotower.tuning.search import Budget, Tuned, tune
from tfrs_twotower.tuning.space import Choice, Range, default_space, parse_dimension

__all__ = ["Budget", "Choice", "Range", "Tuned", "default_space", "parse_dimension", "tune"]
