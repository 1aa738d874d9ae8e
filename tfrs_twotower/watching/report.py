"""The figures of a watch, their limits, and the text for Prometheus."""

import dataclasses
import time

from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import NotNegative, Share

# {metric: (what it is, its labels)}
GAUGES = {
    "twotower_watch_drift": ("Population stability index of a feature, served against trained", "feature"),
    "twotower_watch_share": ("Shares of what was served, of versions and of the index; see `twotower watch`", "share"),
    "twotower_watch_exceeded": ("1 for each figure that is past its limit", "check"),
    "twotower_watch_timestamp_seconds": ("When `twotower watch` ran last",),
}


_OF_VERSIONS = ("item_cosine",)  # shares that do not depend on answers


@config
class WatchLimits:
    """Limits past which `twotower watch` ends with status 3. None: no limit.

    Attributes:
      min_users: answers to fewer users are past no limit, as their figures may be chance.
      max_drift: the largest population stability index of a feature, less its `noise` (`distributions.compare`).
      max_unknown_users: the largest share of answers to users whom training did not know.
      min_coverage: the smallest share of the catalogue that was in answers.
      min_recall: the smallest recall of the index on logged queries.
      min_overlap: the smallest overlap of the top 10 of two versions.
      min_item_cosine: the smallest mean cosine of the item vectors of two versions, after alignment.
    """

    min_users: NotNegative = 100
    max_drift: NotNegative | None = 0.25
    max_unknown_users: Share | None = None
    min_coverage: Share | None = None
    min_recall: Share | None = None
    min_overlap: Share | None = None
    min_item_cosine: float | None = None


@dataclasses.dataclass(frozen=True)
class WatchReport:
    """The figures of a watch.

    Attributes:
      features: {feature: distances}, see `distributions.compare`.
      shares: {name: value}.
      users: how many users had answers; None: it is not known, and enough.
    """

    features: dict[str, dict[str, float]]
    shares: dict[str, float]
    users: int | None = None

    def is_small(self, limits: WatchLimits) -> bool:
        """Are there too few users for limits of what was answered?"""
        return self.users is not None and self.users < limits.min_users

    def exceeded(self, limits: WatchLimits) -> dict[str, str]:
        """{check: what is past which limit}. A figure that was not measured is past none."""
        found, small = {}, self.is_small(limits)
        for name, distances in self.features.items() if limits.max_drift is not None and not small else ():
            noise = distances.get("noise", 0)
            if distances.get("psi", 0) - noise > limits.max_drift:  # type: ignore[operator]  # it is no None
                found[f"drift {name}"] = f"{distances['psi']:.3f} > {limits.max_drift:g} + {noise:.3f} of noise"
        for limit in dataclasses.fields(limits):
            side, _, name = limit.name.partition("_")
            bound, value = getattr(limits, limit.name), self.shares.get(name)
            if small and name not in _OF_VERSIONS:
                continue
            if bound is not None and value is not None and (value > bound if side == "max" else value < bound):
                found[name] = f"{value:.3f} {'>' if side == 'max' else '<'} {bound:g}"
        return found

    def prometheus(self, limits: WatchLimits) -> bytes:
        """The text of node exporter's textfile collector, with the metrics of `GAUGES`."""
        from tfrs_twotower import extras

        prometheus = extras.require("prometheus_client")
        registry = prometheus.CollectorRegistry()
        drift, share, exceeded, at = (
            prometheus.Gauge(name, about, labels, registry=registry) for name, (about, *labels) in GAUGES.items()
        )
        for name, distances in self.features.items():
            if "psi" in distances:
                drift.labels(name).set(distances["psi"])
        for name, value in self.shares.items():
            share.labels(name).set(value)
        for check in self.exceeded(limits):
            exceeded.labels(check).set(1)
        at.set(time.time())
        return prometheus.generate_latest(registry)
