"""The figures of an evaluation: printed, and kept in a run."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrs_twotower.durable import written_aside
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.evaluation import (
    Evaluation,
    SampledAnswers,
    metric_html,
    metric_table,
    slice_table,
    view_table,
    write_per_query,
)
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.headline import headline, headline_values, sentence, shown
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.report import Report, headline_picture, report_page

PAGE = "index.html"


class Figures(dict[str, Any]):
    """The result of `Recommender.evaluate`: the dict of `metrics.json`. It prints as tables.

    Args:
      figures: the dict.
      evaluations: {"model" or a baseline's name: `Evaluation`}, the model first.
      recipe: the `Recipe`.
      answers: the `SampledAnswers` of these evaluations.
    """

    def __init__(
        self, figures: Mapping[str, Any], evaluations: Mapping[str, Evaluation], recipe: Recipe, answers: SampledAnswers
    ) -> None:
        super().__init__(figures)
        self.evaluations, self.recipe, self.answers = evaluations, recipe, answers

    def tables(self) -> list[str]:
        """The table of metrics and, if users repeat items, the table of repeats and discoveries."""
        found = [metric_table(self.evaluations)]
        if self["views"]:
            found.append(view_table(self["views"], self.recipe.evaluation.ks[0]))
        return found

    def short_tables(self) -> list[str]:
        """As `tables`, with eight metrics at most."""
        first, last = self.recipe.evaluation.ks[0], max(self.recipe.evaluation.ks)
        names = [f"{name}@{first}" for name in ("ndcg", "recall", "hit_rate")]
        names += ["mrr", *(f"{name}@{last}" for name in ("ndcg", "recall")), f"novelty@{first}", f"coverage@{first}"]
        return [metric_table(self.evaluations, list(dict.fromkeys(names))), *self.tables()[1:]]

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
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in (*self.sampled(), *self.skipped()))
        return metric_html(self.evaluations) + lines + headline_html(self, self.recipe.training.monitor)


def headline_html(metrics: Mapping[str, Any], metric: str) -> str:
    """The headline of a `metrics.json` for a notebook: as a picture and one line."""
    line = f"<p>{html.escape(sentence(headline(metrics, metric)))}.</p>"
    return headline_picture(headline_values(metrics, metric), shown(metrics, metric), metric) + line


def keep(figures: Figures, directory: Path) -> None:
    """Writes `metrics.json`, and the tables, and the values and answers of single queries in `report/`."""
    runs.write_json(directory / runs.METRICS, figures)
    keep_per_query(figures, directory)
    tables = [*figures.tables(), *figures.sampled(), slice_table(figures.evaluations, f"recall@{_first_k(figures)}")]
    (directory / runs.REPORT / "metrics.txt").write_text("\n\n".join(tables) + "\n", encoding="utf-8")


def keep_per_query(figures: Figures, directory: Path) -> None:
    """Keeps values and answers of single queries in `report/`, for the report and for `twotower compare`."""
    report = directory / runs.REPORT
    report.mkdir(exist_ok=True)
    write_per_query(report, figures.evaluations, figures["protocol"]["asked_sha256"])
    figures.answers.write(report)


def write_report(directory: Path, report: Report) -> Path:
    """Writes the page of a `Report` into a run's `report/`; returns its path.

    Raises:
      ConfigError: the folder cannot be written.
    """
    path, page = directory / runs.REPORT / PAGE, report_page(report)
    try:
        path.parent.mkdir(exist_ok=True)
        with written_aside(path) as file:
            file.write(page.encode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error}). Copy the run to a folder of your own.") from error
    return path


def _first_k(figures: Figures) -> int:
    return figures.recipe.evaluation.ks[0]
