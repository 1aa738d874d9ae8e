"""Cold start: answers before there is data, and for new users and new items."""

from tfrs_twotower.coldstart.categories import representatives
from tfrs_twotower.coldstart.category_means import CategoryMeans
from tfrs_twotower.coldstart.interests import InterestHistory
from tfrs_twotower.coldstart.rules import MOMENTS, ByColumn, ByList, RuleItem, RuleQuery
from tfrs_twotower.coldstart.system import USER_ID, export_rules, rule_retriever

__all__ = [
    "ByColumn", "ByList", "CategoryMeans", "InterestHistory", "MOMENTS", "RuleItem", "RuleQuery", "USER_ID",
    "export_rules", "representatives", "rule_retriever",
]
