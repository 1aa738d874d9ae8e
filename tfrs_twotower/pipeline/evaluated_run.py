"""A trained run, evaluated: its figures and its report."""

import html
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from tfrs_twotower.data import Spark
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.evaluation import ANSWERS, Parts, SampledAnswers
from tfrs_twotower.exporting import versions
from tfrs_twotower.pipeline import reporting, runs
from tfrs_twotower.pipeline.figures import evaluated, sampled_answers
from tfrs_twotower.pipeline.gathering import gathered, of_popularity, write_projector
from tfrs_twotower.pipeline.headline import shown
from tfrs_twotower.pipeline.reporting import Figures
from tfrs_twotower.pipeline.trained_run import TrainedRun
from tfrs_twotower.report import popularity_picture
from tfrs_twotower.training import TENSORBOARD

_log = logging.getLogger(__name__)


class EvaluatedRun(TrainedRun):
    """The figures of a `Recommender`, and the report that shows them."""

    def evaluate(
        self, on: str = "test", scores: pd.DataFrame | None = None, all_queries: bool = False,
        engine: Spark | None = None,
    ) -> Figures:
        """Ranks the whole catalogue for the queries of `on`: with the model of `fit` and with the baselines.

        After a `refit` it still uses the model of `fit`, as the refit was trained on the targets. The run keeps the
        figures of the test as `metrics.json` and in `report/`. If a loaded run has them already, they are not replaced.

        Args:
          on: "test" or "validation".
          scores: a frame with user_id, item_id and score of another model, to be evaluated by the same rules.
          all_queries: True asks all queries, even if there are more than the recipe's `evaluation.test_queries`.
            Without `scores`, the run keeps the ranks of each 20,000 queries until the end: a stopped call continues.
          engine: a `data.Spark` whose tasks rank 20,000 queries each. They need the run's folder. None: this process.

        Returns:
          `Figures`: the dict of `metrics.json`, which prints as tables. Its keys: `protocol`, `test` (or
          `validation`), `slices`, `baselines`, …. With a reranker, `test` measures the reranked answers, and
          `retrieval` is among the baselines.
        """
        if engine is not None and (scores is not None or self.recipe.model.reranker is not None):
            way_out = "Evaluate them on this machine."
            raise ConfigError(invalid("engine", "have neither `scores` nor a reranker to rank", engine, way_out))
        resumable = engine or all_queries and scores is None and os.access(self.directory, os.W_OK)
        parts = Parts(self.directory / runs.RANKS, spark=engine) if resumable else None
        self.evaluations, figures = evaluated(self.assembly, on, scores, all_queries, parts)
        if parts is not None:
            shutil.rmtree(parts.folder, ignore_errors=True)
        a, kept = self.assembly, runs.read_metrics(self.directory)
        found = Figures({
            **figures,
            "data": {**vars(self.ingest_report), "fingerprint": a.log.fingerprint()},
            "training": self._fit_report.to_dict() if self._fit_report else kept.get("training"),
            "popularity_weight": a.weights.popularity,
            "neighbour_weight": a.weights.neighbours,
            "repeat_weight": a.weights.repeats,
            "versions": versions(),
        }, self.evaluations, a.recipe, sampled_answers(a, on, self.evaluations, all_queries))
        if on == "test" and scores is None and self._fit_report:
            reporting.keep(found, self.directory)
            self._figures = found
        elif on == "test":
            try:
                (reporting.keep_per_query if kept or scores is not None else reporting.keep)(found, self.directory)
            except OSError as error:
                _log.warning("The figures were not kept in the run, for example for `twotower compare`: %s", error)
        return found

    def report(self) -> Path:
        """Writes the report of the evaluated run, one HTML file with pictures; returns its path.

        A run that an earlier version evaluated is evaluated again.
        """
        return reporting.write_report(self.directory, gathered(self.assembly, self.directory, *self._measured()))

    def try_report(self, verbose: int) -> None:
        """`report`, which is no reason for a training to fail: what is in its way is said."""
        try:
            if verbose:
                print("Writing the report …", flush=True)
            write_projector(self.assembly, self.directory / runs.CHECKPOINT / TENSORBOARD / "train")
            self.report()
        except Exception as error:  # of the drawing libraries, or the disk
            _log.warning("No report was written (%r). Try again: twotower report %s", error, self.directory)

    @property
    def figures(self) -> Figures | None:
        """The figures of this training in `metrics.json`; None before `fit` and `evaluate`."""
        return self._figures

    def _measured(self) -> tuple[dict[str, Any], SampledAnswers]:
        """(`metrics.json`, the answers that it was measured with) of this run."""
        kept, folder = self._figures or runs.read_metrics(self.directory), self.directory / runs.REPORT
        if not kept or not (folder / ANSWERS).is_file():
            found = self.evaluate()
            kept = kept or found
        return kept, SampledAnswers.read(folder)

    def _repr_html_(self) -> str:
        """What this is, and of an evaluated run two pictures of the report."""
        said, monitor = f"<p>{html.escape(repr(self))}</p>", self.recipe.training.monitor
        kept = self._figures or (runs.read_metrics(self.directory) if self._log is not None else {})
        if not kept:
            return said
        said += reporting.headline_html(kept, monitor)
        if self._figures is None or self._assembly is None:
            return said
        k, systems = max(self.recipe.evaluation.ks), shown(kept, monitor)
        groups = of_popularity(self._assembly, self._figures.answers, systems, k)
        return said + popularity_picture(groups, systems, f"recall@{k}")
