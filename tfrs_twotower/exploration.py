"""Exploration, a part of `coldstart`, by the name that code outside of this package knows."""

from tfrs_twotower.coldstart.clicks import ClickedHistory
from tfrs_twotower.coldstart.explored_items import ExploredItems
from tfrs_twotower.coldstart.explorer import Exploration, Explorer
from tfrs_twotower.coldstart.exposures import Exposures
from tfrs_twotower.coldstart.fresh_channel import FreshChannel
from tfrs_twotower.coldstart.newcomers import ChannelCounts, Newcomers, NewcomerShares
from tfrs_twotower.coldstart.policies import EpsilonGreedy, Policy, Thompson
from tfrs_twotower.coldstart.simulation import simulate

__all__ = [
    "ChannelCounts", "ClickedHistory", "EpsilonGreedy", "Exploration", "ExploredItems", "Explorer", "Exposures",
    "FreshChannel", "NewcomerShares", "Newcomers", "Policy", "Thompson", "simulate",
]
