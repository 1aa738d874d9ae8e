"""The figures of an evaluation: printed, and kept in a run."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrs_twotower.evaluation import (
    Evaluation,
    metric_html,
    metric_table,
    plot_deciles,
    slice_table,
    view_table,
    write_per_query,
)
from tfrs_twotower.extras import available
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.headline import headline, sentence
from tfrs_twotower.recipe import Recipe

_PLOTTED = 5  # the model and the best baselines; more do not fit into a picture


class Figures(dict[str, Any]):
    """The result of `Recommender.evaluate`: the dict of `metrics.json`. It prints as tables.

    Args:
      figures: the dict.
      evaluations: {"model" or a baseline's name: `Evaluation`}, the model first.
      recipe: the `Recipe`.
    """

    def __init__(self, figures: Mapping[str, Any], evaluations: Mapping[str, Evaluation], recipe: Recipe) -> None:
        super().__init__(figures)
        self.evaluations, self.recipe = evaluations, recipe

    def tables(self) -> list[str]:
        """The table of metrics and, if users repeat items, the table of repeats and discoveries."""
        found = [metric_table(self.evaluations)]
        if self["views"]:
            found.append(view_table(self["views"], self.recipe.evaluation.ks[0]))
        return found

    def sampled(self) -> list[str]:
        """A line about the sample of queries; none if all were asked."""
        sample = self["protocol"]["sample"]
        if sample is None:
            return []
        return [f"{sample['queries']:,} of {sample['of']:,} {self['protocol']['on']} queries, drawn by seed "
                f"{sample['seed']}; the intervals say what the sample costs (all: evaluation.test_queries=0, or "
                "`twotower evaluate RUN --all-queries`)."]

    def skipped(self) -> list[str]:
        """A line for each baseline that needed more than its time."""
        return [f"Baseline {name} is left out: {reason} (evaluation.baseline_seconds)."
                for name, reason in self["baselines_skipped"].items()]

    def verdict(self) -> str:
        """The monitored metric beside the best baseline's, in one line."""
        return f"{sentence(headline(self, self.recipe.training.monitor))}."

    def __repr__(self) -> str:
        return "\n".join(["\n\n".join(self.tables()), *self.sampled(), *self.skipped(), self.verdict()])

    __str__ = __repr__

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in (*self.sampled(), *self.skipped(), self.verdict()))
        return metric_html(self.evaluations) + lines


def keep(figures: Figures, directory: Path) -> None:
    """Writes `metrics.json`, and the tables, the picture and the values of single queries in `report/`."""
    runs.write_json(directory / runs.METRICS, figures)
    keep_per_query(figures, directory)
    report, evaluations, metric = directory / runs.REPORT, figures.evaluations, f"recall@{_first_k(figures)}"
    tables = [*figures.tables(), *figures.sampled(), slice_table(evaluations, metric)]
    (report / "metrics.txt").write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    if available("matplotlib"):
        others = sorted(evaluations.keys() - {"model"}, key=lambda name: -evaluations[name].metrics[metric])
        shown = {name: evaluations[name] for name in ["model", *others[: _PLOTTED - 1]]}
        plot_deciles(shown, report / "recall_by_popularity.png", metric=metric)


def keep_per_query(figures: Figures, directory: Path) -> None:
    """Keeps the values of single queries in `report/`, for `twotower compare`."""
    report = directory / runs.REPORT
    report.mkdir(exist_ok=True)
    write_per_query(report, figures.evaluations, figures["protocol"]["asked_sha256"])


def _first_k(figures: Figures) -> int:
    return figures.recipe.evaluation.ks[0]
