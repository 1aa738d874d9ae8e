"""Exploration: new items get a share of the traffic, and their clicks are counted."""

from tfrs_twotower.exploration.channel import FreshChannel
from tfrs_twotower.exploration.clicks import ClickedHistory
from tfrs_twotower.exploration.explorer import Exploration, Explorer
from tfrs_twotower.exploration.exposures import Exposures
from tfrs_twotower.exploration.items import ExploredItems
from tfrs_twotower.exploration.policies import EpsilonGreedy, Policy, Thompson
from tfrs_twotower.exploration.simulation import simulate

__all__ = [
    "ClickedHistory", "EpsilonGreedy", "Exploration", "ExploredItems", "Explorer", "Exposures", "FreshChannel",
    "Policy", "Thompson", "simulate",
]
