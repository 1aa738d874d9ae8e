"""Freshness: items that are new, edited or withdrawn while a version serves."""

from tfrs_twotower.freshness.category_vectors import CategoryVectors
from tfrs_twotower.freshness.counted_history import CountedHistory, Refresher
from tfrs_twotower.freshness.items import FreshItems
from tfrs_twotower.freshness.opening import open_items

__all__ = ["CategoryVectors", "CountedHistory", "FreshItems", "Refresher", "open_items"]
