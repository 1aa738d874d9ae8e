"""Watches what is served: against what was trained on, version against version, and the index on live queries.

`distributions` measures how far two samples are apart. `served` reads an answer log beside the log of a run. `versions`
asks versions again what was asked of the server. `report` holds the figures, their limits and the text for Prometheus.
"""

from tfrs_twotower.watching.report import GAUGES, WatchLimits, WatchReport
from tfrs_twotower.watching.served import count_users, of_queries, watch_features, watch_items
from tfrs_twotower.watching.versions import watch_index, watch_versions

__all__ = [
    "GAUGES", "WatchLimits", "WatchReport", "count_users", "of_queries", "watch_features", "watch_index",
    "watch_items", "watch_versions",
]
