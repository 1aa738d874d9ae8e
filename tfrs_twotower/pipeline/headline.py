"""A run in one line: its metric beside its best baseline's, from `metrics.json`, without TensorFlow."""

from collections.abc import Mapping
from typing import Any

_OWN = ("retrieval", "scores")  # listed among the baselines, but none: the model's own first stage, and given scores


def headline(metrics: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """{"metric", "on", "value", "baseline", "baseline_value", "difference", "interval"} of a run.

    Args:
      metrics: `metrics.json`.
      metric: its name.

    Returns:
      "baseline" is the one with the largest value, None without baselines; "interval" is None for a metric that is no
      mean over queries.
    """
    on = metrics["protocol"]["on"]
    others = {name: found[metric] for name, found in metrics["baselines"].items() if name not in _OWN}
    best = max(others, key=lambda name: others[name], default=None)
    value = metrics[on][metric]
    return {
        "metric": metric, "on": on, "value": value, "baseline": best,
        "baseline_value": others.get(best), "difference": None if best is None else value - others[best],
        "interval": metrics["beats"].get(best, {}).get(metric, {}).get("interval"),
    }


def sentence(found: Mapping[str, Any]) -> str:
    """`headline`'s dict as one line."""
    text = f"{found['metric']} {_short(found['value'])}"
    if found["baseline"] is None:
        return text
    text += f", best baseline {found['baseline']} {_short(found['baseline_value'])}: {_signed(found['difference'])}"
    if found["interval"] is None:
        return text
    low, high = found["interval"]
    word = "better" if low > 0 else "worse" if high < 0 else "within chance"
    return f"{text} [{_signed(low)}, {_signed(high)}], {word}"


def _short(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def _signed(value: float) -> str:
    text = f"{value:+.4f}"
    return text[0] + text[1:].removeprefix("0")
