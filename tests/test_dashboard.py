"""The dashboard and the alert rules name metrics, and labels of them, that the server or `twotower watch` writes."""

import functools
import json
import re
from pathlib import Path

import pytest
import yaml

from tfrs_twotower.serving.metrics import Metrics
from tfrs_twotower.watching.report import GAUGES

DEPLOY = Path(__file__).parents[1] / "deploy"
_NAME = re.compile(r"\b(twotower_[a-z_]+)(?:\{([^}]*)\})?")


@functools.cache
def known():
    """{name in a query: labels}."""
    found = {name: set(labels) for name, (_, *labels) in GAUGES.items()}
    for metric, names in Metrics()._registry._collector_to_names.items():
        found |= {name: set(metric._labelnames) for name in names}
    return found


def expressions():
    dashboard = json.loads((DEPLOY / "grafana/dashboards/twotower.json").read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_every_metric_and_label_is_there(expression):
    names = _NAME.findall(expression)
    assert names or "up{" in expression
    for name, selector in names:
        assert name in known(), name
        assert set(re.findall(r"(\w+)\s*=", selector)) <= known()[name]
    for labels in re.findall(r"by \(([^)]*)\)", expression):
        of_metrics = set.union(*(known()[name] for name, _ in names))
        assert set(labels.replace(" ", "").split(",")) <= {"le", "instance"} | of_metrics


def test_the_panels_of_the_dashboard_do_not_overlap():
    panels = json.loads((DEPLOY / "grafana/dashboards/twotower.json").read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places) and len({panel["id"] for panel in panels}) == len(panels)
