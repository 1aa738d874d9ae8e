"""A run in one line: its metric beside its best baseline's, from `metrics.json`, without TensorFlow."""

from collections.abc import Mapping
from typing import Any

from tfrs_twotower.report import Value, named

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


def shown(metrics: Mapping[str, Any], metric: str) -> tuple[str, ...]:
    """The systems of most charts: the model, its best baseline, popularity, and the next best, at most three."""
    others = metrics["baselines"]
    ranked = sorted((name for name in others if name not in _OWN),
                    key=lambda name: -others[name][metric])
    return tuple(dict.fromkeys(["model", *ranked[:1], *(["popularity"] if "popularity" in others else []),
                                *ranked[1:2]]))[:3]


def headline_values(metrics: Mapping[str, Any], metric: str) -> tuple[Value, ...]:
    """The model's value with its interval and those of the baselines, the best first."""
    on = metrics["protocol"]["on"]
    low, high = metrics["intervals"].get(metric, (None, None))
    found = [Value("model", metrics[on][metric], low, high)]
    for name, values in metrics["baselines"].items():
        low, high = metrics.get("baseline_intervals", {}).get(name, {}).get(metric, (None, None))
        found.append(Value(name, values[metric], low, high))
    return tuple(sorted(found, key=lambda v: -v.value))


def meaning(metrics: Mapping[str, Any], found: Mapping[str, Any], k: int) -> str:
    """What `headline`'s dict means, for a reader who does not know the metric. k: the cut-off of the lists."""
    on, name = found["on"], f"recall@{k}"
    own = f"Of what a user chose next, {metrics[on][name]:.1%} is among the first {k} answers of the model"
    if found["baseline"] is None:
        return f"{own}. There is no baseline."
    best = f"{own}, {metrics['baselines'][found['baseline']][name]:.1%} among those of {named(found['baseline'])}."
    if found["interval"] is None:
        return best
    low, high = found["interval"]
    if low > 0:
        return f"{best} In {found['metric']} the model is better, by more than chance would explain."
    if high < 0:
        return f"{best} In {found['metric']} the model is worse, by more than chance would explain."
    return f"{best} In {found['metric']} the difference may be chance: the interval of it includes 0."


def _short(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def _signed(value: float) -> str:
    text = f"{value:+.4f}"
    return text[0] + text[1:].removeprefix("0")
