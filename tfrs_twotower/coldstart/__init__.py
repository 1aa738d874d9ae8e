"""Cold start: answers before there is data, and for new users and new items.

Exploration gives new items a share of the traffic, and counts their clicks.
"""

from tfrs_twotower.coldstart.categories import representatives
from tfrs_twotower.coldstart.category_means import CategoryMeans
from tfrs_twotower.coldstart.clicks import ClickedHistory
from tfrs_twotower.coldstart.explored_items import ExploredItems
from tfrs_twotower.coldstart.explorer import Exploration, Explorer
from tfrs_twotower.coldstart.exposures import Exposures
from tfrs_twotower.coldstart.fresh_channel import FreshChannel
from tfrs_twotower.coldstart.interests import InterestHistory
from tfrs_twotower.coldstart.newcomers import ChannelCounts, Newcomers, NewcomerShares
from tfrs_twotower.coldstart.policies import EpsilonGreedy, Policy, Thompson
from tfrs_twotower.coldstart.rules import MOMENTS, ByColumn, ByList, RuleItem, RuleQuery
from tfrs_twotower.coldstart.simulation import simulate
from tfrs_twotower.coldstart.system import USER_ID, export_rules, rule_retriever
from tfrs_twotower.models import FewShot, Reptile

__all__ = [
    "ByColumn", "ByList", "CategoryMeans", "ChannelCounts", "ClickedHistory", "EpsilonGreedy", "Exploration",
    "ExploredItems", "Explorer", "Exposures", "FewShot", "FreshChannel", "InterestHistory", "MOMENTS",
    "NewcomerShares", "Newcomers", "Policy", "Reptile", "RuleItem", "RuleQuery", "Thompson", "USER_ID",
    "export_rules", "representatives", "rule_retriever", "simulate",
]
