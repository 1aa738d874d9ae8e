"""The Python API: a recipe, its data and its run, from `fit` to `export`."""

import contextlib
import dataclasses
import functools
import html
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import tensorflow as tf

from tfrs_twotower.data import Spark
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.evaluation import ANSWERS, Parts, SampledAnswers
from tfrs_twotower.exporting import PORTABLE, SCANN, Key, Retriever, export, versions
from tfrs_twotower.index import (
    REMOTE,
    SAVED_MODEL,
    CandidateIndex,
    IndexConfig,
    IndexKind,
    IndexReport,
    chosen_kind,
)
from tfrs_twotower.pipeline import answers, reporting, runs
from tfrs_twotower.pipeline.batch import Batch, Here, What, write_batch
from tfrs_twotower.pipeline.batch_on_spark import OnSpark
from tfrs_twotower.pipeline.explaining import Explained, explained
from tfrs_twotower.pipeline.figures import evaluated, sampled_answers
from tfrs_twotower.pipeline.gathering import gathered, of_popularity, write_projector
from tfrs_twotower.pipeline.headline import shown
from tfrs_twotower.pipeline.manifest_fields import manifest_fields
from tfrs_twotower.pipeline.moving import moving
from tfrs_twotower.pipeline.reporting import Figures
from tfrs_twotower.pipeline.requests import Live
from tfrs_twotower.pipeline.searching import kept_index, people, retriever, tuned_index
from tfrs_twotower.pipeline.strangers import Stranger
from tfrs_twotower.pipeline.trained_run import TrainedRun
from tfrs_twotower.report import popularity_picture
from tfrs_twotower.training import TENSORBOARD, is_chief, of_chief
from tfrs_twotower.training.parameter_servers import asynchronous

_log = logging.getLogger(__name__)


class Recommender(TrainedRun):
    """Trains, evaluates, searches and exports one recipe.

    A run may hold two models. The model of `fit` did not see the held-out events; `evaluate` measures it on them. The
    model of `refit` saw all events. Where it exists, all methods but `evaluate` use it.

    Args:
      recipe: a `Recipe`.
      interactions, users, items: pandas frames, when the recipe names no source; their columns are named as in
        `columns.py`, or as `columns` says. The run keeps their log.
      columns: a `Columns` that maps the canonical names to the frames' columns.
      directory: the run's folder. In the folder of an earlier run, training continues where that run stopped. By
        default `fit` makes a new one, `runs/<recipe>/<time>`.
      parent: the folder of a finished run of the same recipe. This run starts from its served weights and
        vocabularies.
      root: the folder of all runs, in place of `runs`.
    """

    _index: CandidateIndex | None = None
    _index_report: IndexReport | None = None
    _retriever: Retriever | None = None

    def run(
        self, devices: tf.distribute.Strategy | None = None, export: bool = True, force: bool = False, verbose: int = 1,
        key: Key | None = None,
    ) -> Path | None:
        """All steps of `twotower train`: `fit`, `evaluate`, `refit`, `index`, `export`.

        Args:
          devices: a `tf.distribute` strategy; all of its processes must call this method. None: one device.
          export: False stops after evaluation and index, without refit and export.
          force: as in `export`.
          verbose: 0 prints nothing.
          key: as in `export`.

        Returns:
          The exported version's path; None without one, and in a process that is not the chief.
        """
        scope, path = (devices or tf.distribute.get_strategy()).scope, None
        with scope():
            alone, gather = is_chief(), asynchronous()
        with self.writing() if alone else contextlib.nullcontext():  # workers share the folder on purpose
            with scope():
                self.fit(verbose)
            # Outside of the scope: inside, a new variable, such as an index's, would wait for all workers.
            self._forget(weights=gather)
            if alone:
                self.evaluate()
            if self.recipe.training.refit and export and not (self.directory / runs.REFUSED).exists():
                with scope():
                    self.refit(verbose)
                self._forget(weights=gather)
            if alone:
                self.index()
                if export:
                    path = self.export(force=force, key=key)
                runs.point_latest(self.directory)
                self.try_report(verbose)
        with scope():
            of_chief(0.0)  # workers stay until the chief is done
        return path

    def try_report(self, verbose: int) -> None:
        """`report`, which is no reason for a training to fail: what is in its way is said."""
        try:
            if verbose:
                print("Writing the report …", flush=True)
            write_projector(self.assembly, self.directory / runs.CHECKPOINT / TENSORBOARD / "train")
            self.report()
        except Exception as error:  # of the drawing libraries, or the disk
            _log.warning("No report was written (%r). Try again: twotower report %s", error, self.directory)

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

    @property
    def figures(self) -> Figures | None:
        """The figures of this training in `metrics.json`; None before `fit` and `evaluate`."""
        return self._figures

    @property
    def retriever(self) -> Retriever:
        """The `Retriever` of this model and index: raw features in, item ids out."""
        if self._retriever is None:
            self._find_index()
            self._retriever = retriever(self.served, self._index)
        return self._retriever

    def recommend(self, user_ids: Any, k: int = 10, exclude_seen: bool | None = None) -> pd.DataFrame:
        """The top k items of each user, from all events of the log; the request is just after the last one.

        An unknown user gets an answer too.

        Args:
          user_ids: one id or a list.
          k: items per user.
          exclude_seen: whether seen items are left out; None: as in the recipe's evaluation.

        Returns:
          A frame with `user_id`, `rank`, `item_id`, `score` and, where the items have one, the title.
        """
        user_ids = [user_ids] if np.isscalar(user_ids) else list(user_ids)
        if exclude_seen is None:
            exclude_seen = self.recipe.evaluation.exclude_seen
        return answers.recommended(self.served, self.retriever, user_ids, k, bool(exclude_seen))

    def batch(
        self, folder: str | Path, what: What = "recommendations", k: int = 100, exclude_seen: bool | None = None,
        shard: int = 50_000, verbose: int = 1, engine: Spark | None = None,
        allow: Mapping[str, Any] | None = None, deny: Mapping[str, Any] | None = None,
    ) -> Path:
        """Writes the answers for all users of the log, or all vectors, as Parquet files; returns the folder.

        The files' columns are those of `pipeline.batch.Batch`. A stopped batch continues in its folder.

        Args:
          folder: of the files; made if it is missing.
          what: "recommendations", "user-vectors" or "item-vectors".
          k: items per user.
          exclude_seen: as in `recommend`.
          shard: users or items of a file.
          verbose: 0 shows no progress bar.
          engine: a `data.Spark` whose tasks write a file each; they read the run's folder and write to `folder`. None:
            this process writes all files. Either continues what the other began.
          allow, deny: rules of the recommended items by attribute, as `{"category": ["a", "b"], "price": {"max": 5}}`:
            those of /v1/recommend. An item has to satisfy all of `allow` and none of `deny`; the search is then exact.

        Raises:
          ConfigError: the folder holds another batch, or another process writes to it; or the index is in another
            server, such as Milvus, and there is an `engine`; or there are rules for vectors.
          DataError: a rule cannot be read, or no item satisfies all.
        """
        if what not in get_args(What):
            raise ConfigError(invalid("what", f"be one of {get_args(What)}", what, 'Write "recommendations".'))
        if min(k, shard) < 1:
            raise ConfigError(invalid("k and shard", "be at least 1", (k, shard), "Leave them out for the defaults."))
        if engine is not None and self._kind().place == REMOTE:
            way_out = 'Choose another by `twotower index RUN --set index.kind="auto"`, or write it on this machine.'
            raise ConfigError(invalid("engine", "have an index that its tasks can hold", self._kind(), way_out))
        seen = self.recipe.evaluation.exclude_seen if exclude_seen is None else exclude_seen
        if (allow or deny) and what != "recommendations":
            raise ConfigError(invalid("what", "be recommendations, to have rules", what, "Leave out allow and deny."))
        a, weights = self._serving()
        settings = Batch(what, k, bool(seen), shard, dict(allow or {}), dict(deny or {}))
        answers.allowed_items(a.log.items, settings.allow, settings.deny)  # a wrong rule makes no folder
        where = Here(Live.of(a), self.retriever) if engine is None else OnSpark(
            engine, self.directory / runs.LOG, functools.partial(self.export, force=True))
        rows = len(a.catalogue) if what == "item-vectors" else a.log.users.num_rows
        return write_batch(where, settings, rows, weights.embedding_space, folder, bool(verbose))

    def similar(self, item_id: Any, k: int = 10) -> pd.DataFrame:
        """The k items nearest to an item, by `Similarity`: a frame with `rank`, `item_id`, `score`, title.

        Raises:
          DataError: the catalogue has no such item.
        """
        return answers.similar(self.served, self.retriever, item_id, k)

    def stranger(self, likes: Sequence[Any] = (), dislikes: Sequence[Any] = (), asked: Sequence[Any] = ()) -> Stranger:
        """A user of whom nothing is known, whom `Stranger.questions` asks about items: see `Stranger`."""
        return Stranger(self.served, self.retriever, likes, dislikes, asked)

    def explain(self, user_id: Any, item_id: Any, exclude_seen: bool | None = None) -> Explained:
        """Why a user gets an item: the shares of the past's events, the features and the popularity in its score.

        Shares are differences from the catalogue's average item; with `average item` their sum is the score.

        Args:
          user_id, item_id: ids of the log. An unknown user has no events.
          exclude_seen: as in `recommend`, for what would be offered without the strongest event.

        Returns:
          An `Explained`, which prints as a table.

        Raises:
          DataError: the catalogue has no such item.
        """
        seen = self.recipe.evaluation.exclude_seen if exclude_seen is None else exclude_seen
        return explained(self.served, self.retriever, user_id, item_id, bool(seen))

    def watched(self, user_id: Any, n: int = 5) -> pd.DataFrame:
        """The user's last n items, newest first: a frame with `item_id` and the title."""
        return answers.watched(self._known_log(), self.recipe.title, user_id, n)

    def export(
        self, root: str | Path | None = None, flavour: str | None = None, force: bool = False, key: Key | None = None
    ) -> Path:
        """Writes the next version of the SavedModel under `root` (the run's `export/` by default).

        Args:
          root: the folder of all versions.
          flavour: "scann", "portable" (no custom op: exact search, or stock-op IVF for a large catalogue), or None:
            the flavour of the recipe's index.
          force: True exports even an index below its target recall, or an update that did not pass its gate.
          key: the `exporting.Key` that signs the version, for servers that ask for it; None: it is not signed.

        Returns:
          The version's path. Without `root`, `latest` points to this run from now on, and its servers load the version.

        Raises:
          ConfigError: the run is an update that was refused, or stopped before its gate.
        """
        a, weights = self._serving()
        if not force:
            runs.check_passed(self.directory, "Run `twotower update` again, or add --force.")
        self._index_for(flavour)
        rows = a.split.test.row[:8] if len(a.split.test.row) else a.split.train[-8:]
        figures = runs.read_metrics(self.directory).get("test")
        path = export(
            self.retriever, root or self.directory / runs.EXPORT,
            manifest_fields(self.recipe, a, weights, self.directory, figures),
            [a.examples.raw_queries(rows, a.past_length)],
            self._index_report, model_name=self.recipe.name, force=force,  # type: ignore[arg-type]  # by `_index_for`
            least_version=1 if root else runs.next_version(self.directory), table=a.log.items.take(a.catalogue),
            kind=self._kind(), key=key, sample=people(a), statistics=moving(a),
        )
        if root is None:
            runs.point_latest(self.directory)
        return path

    def active_users(self, n: int) -> list[Any]:
        """Ids of n users spread over the log, with test events if there are any."""
        return answers.active_users(self.assembly, n)

    def _forget(self, weights: bool = False) -> None:
        super()._forget(weights)
        self._index = self._retriever = None

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


def load(directory: str | Path, **frames: Any) -> Recommender:
    """A trained recommender from its run's folder; see `Recommender.load`."""
    return Recommender.load(directory, **frames)
