"""The `Report` of a run."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_twotower.evaluation import SampledAnswers
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.gathering import lists, places
from tfrs_twotower.pipeline.gathering.advice import advice
from tfrs_twotower.pipeline.gathering.titles import Titles
from tfrs_twotower.pipeline.headline import headline, headline_values, meaning, sentence, shown
from tfrs_twotower.report import Data, Group, MetricTable, Report, Value, named
from tfrs_twotower.training import epochs_of

_GROUPS = {"warm_items": "known items", "cold_items": "new items", "warm_users": "known users",
           "cold_users": "new users"}
_SPANS = 60  # of the log's time


def gathered(assembly: Assembly, directory: Path, metrics: Mapping[str, Any], answers: SampledAnswers) -> Report:
    """The `Report` of a trained and evaluated run.

    Its time does not grow with the log: it looks into at most 4,000 queries and 20,000 items. Of the item table it
    reads the titles, to find those that two items have.

    Args:
      assembly: the evaluated model.
      directory: the run's folder.
      metrics: its `metrics.json`.
      answers: the answers to a sample of its queries.
    """
    a, found = assembly, headline(metrics, assembly.recipe.training.monitor)
    metric, k = found["metric"], min(a.recipe.evaluation.ks)
    depth = min(max(a.recipe.evaluation.ks), answers.tops["model"].shape[1])
    systems, titles = shown(metrics, metric), Titles(a.log, a.recipe.title)
    epochs, drawn = epochs_of(directory / runs.CHECKPOINT), places.drawn(a)
    described = len(a.log.items.column_names) > 1  # the first is the id
    return Report(
        run=f"{directory.parent.name}/{directory.name}", recipe=a.recipe.name, k=k, depth=depth, sample=len(answers),
        asked=metrics["protocol"]["queries"], metric=metric,
        verdict=f"{sentence({**found, 'baseline': named(found['baseline'])})}.",
        meaning=meaning(metrics, found, k),
        headline=headline_values(metrics, metric), metrics=_table(metrics), epochs=tuple(epochs),
        best_epoch=_best_epoch(metrics, epochs, metric),
        by_popularity=of_popularity(a, answers, systems, depth),
        groups=_groups(metrics, systems, f"recall@{k}"),
        lorenz=lists.lorenz(answers, systems, k, len(a.catalogue)),
        covered=lists.covered(answers, systems, k, len(a.catalogue)),
        caught=tuple(lists.caught(answers, other, k, titles) for other in _rivals(systems)),
        map=places.placed(a, drawn, answers, titles),
        users=lists.users(a.log, a.examples.history, answers, systems, titles),
        similar=places.similar(a, drawn, titles), index=metrics.get("index"), field_weights=metrics["field_weights"],
        interests=metrics["interests"], data=_data(a, metrics),
        advice=advice(a.recipe, metrics, found, epochs, described),
    )


def of_popularity(a: Assembly, answers: SampledAnswers, systems: Sequence[str], k: int) -> tuple[Group, ...]:
    """Recall at k in groups of targets by the training events of their items."""
    return lists.by_popularity(answers, item_counts(a), {name: answers.found(name, k) for name in systems})


def _rivals(systems: tuple[str, ...]) -> list[str]:
    """Popularity, if it is shown, and the best baseline."""
    return [name for name in dict.fromkeys(("popularity", *systems[1:2])) if name in systems]


def item_counts(a: Assembly) -> np.ndarray:
    """int64 [item rows]: training events of each item; 0 outside of the catalogue."""
    counts = np.zeros(a.log.items.num_rows, np.int64)
    counts[a.catalogue] = a.train_counts
    return counts


def _table(metrics: Mapping[str, Any]) -> MetricTable:
    own, others = metrics[metrics["protocol"]["on"]], metrics["baselines"]

    def cell(values: Mapping[str, float], name: str) -> str:
        return f"{values[name]:.4f}" if name in values else "–"

    rows = []
    for name, value in own.items():
        interval = metrics["intervals"].get(name)
        text = f"{value:.4f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
        rows.append((name, text, *(cell(values, name) for values in others.values())))
    return MetricTable(("model", *map(named, others)), tuple(rows))


def _best_epoch(metrics: Mapping[str, Any], epochs: list[dict[str, Any]], metric: str) -> int | None:
    best = (metrics.get("training") or {}).get("best_epoch", -1)
    return best + 1 if best >= 0 and any(metric in epoch for epoch in epochs) else None


def _groups(metrics: Mapping[str, Any], systems: tuple[str, ...], metric: str) -> tuple[Group, ...]:
    """Cold and warm items and users of the recipe's own view, then repeats and discoveries."""
    found = []
    for slice_name, name in _GROUPS.items():
        parts = {"model": metrics["slices"], **metrics.get("baseline_slices", {})}
        values = [_sliced(system, parts[system][slice_name], metric) for system in systems
                  if slice_name in parts.get(system, {})]
        if values:
            found.append(Group(name, metrics["slices"][slice_name]["targets"], tuple(values)))
    for name, view in metrics["views"].items():
        values = [Value(s, view["metrics"][s][metric], *view["intervals"].get(s, {}).get(metric, (None, None)))
                  for s in systems if s in view["metrics"]]
        found.append(Group({"repeats": "had it before", "discovery": "discoveries"}.get(name, name), view["targets"],
                           tuple(values)))
    return tuple(found)


def _sliced(system: str, part: Mapping[str, Any], metric: str) -> Value:
    return Value(system, part[metric], *part["intervals"].get(metric, (None, None)))


def _data(a: Assembly, metrics: Mapping[str, Any]) -> Data:
    log, read = a.log, metrics["data"]
    facts = [("rows read", f"{read['rows']:,}"), ("kept", f"{read['accepted']:,}"), ("users", f"{read['users']:,}"),
             ("items", f"{read['items']:,}"), ("events", f"{len(log):,}"),
             ("test queries", f"{metrics['protocol']['queries']:,}"),
             ("items that can be recommended", f"{len(a.catalogue):,}")]
    spans: tuple[tuple[int, int], ...] = ()
    if log.timed and log.timestamp[-1] > log.timestamp[0]:
        first, last = int(log.timestamp[0]), int(log.timestamp[-1])
        facts.append(("from, to", " to ".join(_day(moment) for moment in (first, last))))
        edges = np.linspace(first, last, _SPANS + 1)
        counts = np.diff(np.searchsorted(log.timestamp, edges[:-1]), append=len(log))
        spans = tuple((int(edge) * 1000, int(count)) for edge, count in zip(edges, counts))
    return Data(tuple(facts), tuple(read["rejected"].items()), tuple(read["notes"]), spans)


def _day(moment: int) -> str:
    return f"{datetime.datetime.fromtimestamp(moment, datetime.timezone.utc):%Y-%m-%d}"
