"""The report of a run: one HTML file of its figures, and the page that compares two runs."""

from tfrs_twotower.report.contents import (
    Advice,
    Caught,
    ChangedItem,
    Comparison,
    Curve,
    Data,
    Group,
    Map,
    MapPoint,
    MetricTable,
    OfferedItem,
    Report,
    Similar,
    User,
    Value,
    named,
)
from tfrs_twotower.report.page import comparison_page, headline_picture, popularity_picture, report_page

__all__ = [
    "Advice",
    "Caught",
    "ChangedItem",
    "Comparison",
    "Curve",
    "Data",
    "Group",
    "Map",
    "MapPoint",
    "MetricTable",
    "OfferedItem",
    "Report",
    "Similar",
    "User",
    "Value",
    "comparison_page",
    "headline_picture",
    "named",
    "popularity_picture",
    "report_page",
]
