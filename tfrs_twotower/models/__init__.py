"""The retrieval model and its task."""

from tfrs_twotower.models.retrieval import Retrieval
from tfrs_twotower.models.temperature import FixedTemperature, LearnedTemperature, Temperature
from tfrs_twotower.models.two_tower import TwoTowerModel

__all__ = ["FixedTemperature", "LearnedTemperature", "Retrieval", "Temperature", "TwoTowerModel"]
