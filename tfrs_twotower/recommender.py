"""The Python API: a recipe, its data and its run, from `fit` to `export`."""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import tensorflow as tf

from tfrs_twotower.data import Spark
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.exporting import Key, export
from tfrs_twotower.exporting.publishing import check_signed
from tfrs_twotower.index import REMOTE, IndexConfig
from tfrs_twotower.pipeline import answers, runs
from tfrs_twotower.pipeline.batch import Batch, Here, What, write_batch
from tfrs_twotower.pipeline.batch_on_spark import OnSpark
from tfrs_twotower.pipeline.explaining import Explained, explained
from tfrs_twotower.pipeline.manifest_fields import manifest_fields
from tfrs_twotower.pipeline.moving import moving
from tfrs_twotower.pipeline.requests import Live
from tfrs_twotower.pipeline.searched_run import SearchedRun
from tfrs_twotower.pipeline.searching import people
from tfrs_twotower.pipeline.strangers import Stranger
from tfrs_twotower.training import is_chief, of_chief
from tfrs_twotower.training.parameter_servers import asynchronous


class Recommender(SearchedRun):
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
        if export:
            self.check_signed(key)
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
                if export or not (self.directory.parent / "latest" / runs.EXPORT).is_dir():
                    runs.point_latest(self.directory)  # servers follow it, so it keeps to a run with versions
                self.try_report(verbose)
        with scope():
            of_chief(0.0)  # workers stay until the chief is done
        return path

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
        self, root: str | Path | None = None, flavour: str | None = None, force: bool = False, key: Key | None = None,
        index: IndexConfig | None = None,
    ) -> Path:
        """Writes the next version of the SavedModel under `root` (the run's `export/` by default).

        Args:
          root: the folder of all versions.
          flavour: "scann", "portable" (no custom op: exact search, or stock-op IVF for a large catalogue), or None:
            the flavour of the recipe's index.
          force: True exports even an index below its target recall, or an update that did not pass its gate.
          key: the `exporting.Key` that signs the version, for servers that ask for it; None: it is not signed.
          index: an `IndexConfig` for this export; the run's index stays. None: the run's.

        Returns:
          The version's path. Without `root`, `latest` points to this run from now on, and its servers load the version.

        Raises:
          ConfigError: the run is an update that was refused, or stopped before its gate; or both `flavour` and `index`
            are given.
          ExportError: what `latest` serves is signed and there is no `key`; or see `exporting.export`.
        """
        if root is None:
            self.check_signed(key)
        if flavour is not None and index is not None:
            rule = "not be given with a flavour, which chooses the kind of index"
            raise ConfigError(invalid("index", rule, index.kind, "Leave one of them out."))
        a, weights = self._serving()
        if not force:
            runs.check_passed(self.directory, "Run `twotower update` again, or add --force.")
        if index is not None:
            self.recipe = dataclasses.replace(self.recipe, index=index)
            self._tune()
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

    def check_signed(self, key: Key | None) -> None:
        """Raises `ExportError` if what `latest` beside this run serves is signed and there is no `key` for the next."""
        beside = self._directory.parent if self._directory else self._root / self.recipe.name
        check_signed(beside / "latest" / runs.EXPORT, key)

    def active_users(self, n: int) -> list[Any]:
        """Ids of n users spread over the log, with test events if there are any."""
        return answers.active_users(self.assembly, n)


def load(directory: str | Path, **frames: Any) -> Recommender:
    """A trained recommender from its run's folder; see `Recommender.load`."""
    return Recommender.load(directory, **frames)
