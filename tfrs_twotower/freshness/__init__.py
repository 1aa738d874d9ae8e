"""Freshness: items that are new, edited or withdrawn while a version serves."""

from tfrs_twotower.freshness.category_vectors import CategoryVectors
from tfrs_twotower.freshness.items import FreshItems
from tfrs_twotower.freshness.opening import open_items
from tfrs_twotower.freshness.refresher import Refresher

__all__ = ["CategoryVectors", "FreshItems", "Refresher", "open_items"]
