"""Freshness: what changes while a version serves."""

from tfrs_twotower.freshness.catalogue import ServedCatalogue, catalogue_index
from tfrs_twotower.freshness.items import FreshItems

__all__ = ["FreshItems", "ServedCatalogue", "catalogue_index"]
