"""An evaluated run with an index, so that it can be searched."""

import contextlib
import dataclasses
from pathlib import Path

from tfrs_twotower.exporting import PORTABLE, SCANN, Retriever
from tfrs_twotower.index import SAVED_MODEL, CandidateIndex, IndexConfig, IndexKind, IndexReport, chosen_kind
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.evaluated_run import EvaluatedRun
from tfrs_twotower.pipeline.searching import kept_index, retriever, tuned_index
from tfrs_twotower.training import is_chief


class SearchedRun(EvaluatedRun):
    """The index of a `Recommender`: its own, one that the run keeps, or another one for an export."""

    _index: CandidateIndex | None = None
    _index_report: IndexReport | None = None
    _retriever: Retriever | None = None

    def index(self, config: IndexConfig | None = None) -> IndexReport:
        """Builds the index that `recommend` and `export` use, tuned to its target recall; returns its report.

        After `fit` and `evaluate`, `metrics.json` has the report too. An index that a SavedModel cannot hold, such as
        "faiss_hnsw", is kept in the run's folder `index`. A program that loads the run then uses it, until this method
        builds another one.
        """
        if config is not None:
            self.recipe = dataclasses.replace(self.recipe, index=config)
        folder, outside = self.directory / runs.INDEX, self._kind().place != SAVED_MODEL
        writes = is_chief() and (outside or folder.exists() or self._figures is not None)
        with self.writing() if writes else contextlib.nullcontext():  # otherwise a run may be read-only
            report = self._tune(folder if writes else None)
            if self._figures is not None:
                self._figures["index"] = report.to_dict()
                runs.write_json(self.directory / runs.METRICS, self._figures)
        return report

    @property
    def retriever(self) -> Retriever:
        """The `Retriever` of this model and index: raw features in, item ids out."""
        if self._retriever is None:
            self._find_index()
            self._retriever = retriever(self.served, self._index)
        return self._retriever

    def _tune(self, folder: Path | None = None) -> IndexReport:
        """Builds an index. If a SavedModel cannot hold it, it is kept in `folder`. None: nothing is written."""
        self._forget()
        self._index, self._index_report = tuned_index(self.served, self.recipe.index, folder)
        return self._index_report

    def _find_index(self) -> None:
        """Makes sure that there is an index: the run's own, or a new one."""
        self._take_kept()
        if self._index is None:
            self._tune()

    def _take_kept(self) -> None:
        """The index that the run keeps, if it has one and none was built here."""
        found = kept_index(self.served, self.directory / runs.INDEX) if self._index is None else None
        if found is not None:
            config, self._index, self._index_report = found
            self.recipe = dataclasses.replace(self.recipe, index=config)

    def _index_for(self, flavour: str | None) -> None:
        """Makes sure that there is an index, of a kind that the flavour allows."""
        if flavour is None:
            return self._find_index()
        config, size, kind = self.recipe.index, len(self.served.catalogue), self._kind()
        portable = kind.place == SAVED_MODEL and kind.op_library is None
        if flavour == SCANN and kind.op_library != SCANN:
            self._rebuild(SCANN)
        elif flavour == PORTABLE and not portable:
            self._rebuild("ivf" if size >= config.exact_below else "exact")
        elif self._index is None:
            self._tune()

    def _kind(self) -> IndexKind:
        return chosen_kind(self.recipe.index, len(self.served.catalogue))

    def _rebuild(self, kind: str) -> None:
        """An index of another kind, for an export; the run's own index is not replaced."""
        config = dataclasses.replace(self.recipe.index, kind=kind, shards=1)
        self.recipe = dataclasses.replace(self.recipe, index=config)
        self._tune()

    def _forget(self, weights: bool = False) -> None:
        super()._forget(weights)
        self._index = self._retriever = None
