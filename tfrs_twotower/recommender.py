"""The Python API: a recipe, its data and its run, from `fit` to `export`."""

import copy
import dataclasses
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower import runs
from tfrs_twotower.assembly import Assembly
from tfrs_twotower.configuration import to_dict
from tfrs_twotower.data import Columns, Frames, IngestReport, InteractionLog, ingest
from tfrs_twotower.errors import ConfigError, DataError, TrainingError, nearest
from tfrs_twotower.evaluation import Evaluation, chosen
from tfrs_twotower.exporting import PORTABLE, SCANN, Retriever, export, versions
from tfrs_twotower.features import to_tensor
from tfrs_twotower.figures import evaluated
from tfrs_twotower.index import SAVED_MODEL, CandidateIndex, IndexConfig, IndexReport, chosen_kind
from tfrs_twotower.racing import race
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.requests import as_ids, live_requests, user_rows
from tfrs_twotower.searching import Validation, kept_index, retriever, tuned_index
from tfrs_twotower.training import FitReport, fit, is_chief, of_chief
from tfrs_twotower.trainings import begun, refit, restored


class Recommender:
    """Trains, evaluates, searches and exports one recipe.

    A run may hold two models. The model of `fit` did not see the held-out events; `evaluate` measures it on them. The
    model of `refit` saw all events. Where it exists, all methods but `evaluate` use it.

    Args:
      recipe: a `Recipe`.
      interactions, users, items: pandas frames, when the recipe names no source; their columns are named as in
        `columns.py`, or as `columns` says.
      columns: a `Columns` that maps the canonical names to the frames' columns.
      directory: the run's folder; by default a new one, `runs/<recipe>/<time>`. The folder of an earlier run
        goes on where that run stopped.
      parent: the folder of a finished run of the same recipe, from whose served weights and vocabularies this one
        starts.
    """

    _index: CandidateIndex | None
    _index_report: IndexReport | None
    _retriever: Retriever | None

    def __init__(
        self, recipe: Recipe, interactions: pd.DataFrame | None = None, users: pd.DataFrame | None = None,
        items: pd.DataFrame | None = None, columns: Columns | None = None, directory: str | Path | None = None,
        parent: str | Path | None = None,
    ) -> None:
        if (interactions is None) == (recipe.source is None):
            raise ConfigError(
                f"`interactions` must be given when the recipe has no source, and only then. Received: recipe "
                f"`{recipe.name}` with source={type(recipe.source).__name__}. Pass a frame, or a recipe with a source."
            )
        frames: dict[str, Any] = {"columns": columns} if columns is not None else {}
        self._source = recipe.source if interactions is None else Frames(interactions, users, items, **frames)
        self.recipe = recipe
        self.directory = Path(directory) if directory else runs.create("runs", recipe.name)
        self._parent = Path(parent) if parent else None
        self._log: InteractionLog | None = None
        self._assembly: Assembly | None = None
        self._served: tuple[Assembly, runs.Weights] | None = None
        self._fit_report: FitReport | None = None
        self._index = self._index_report = self._retriever = None
        self.evaluations: dict[str, Evaluation] = {}
        self.ingest_report: IngestReport | None = None

    @classmethod
    def load(cls, directory: str | Path, **frames: Any) -> "Recommender":
        """A trained recommender from its run's folder; `frames` as in the constructor, for a recipe without source."""
        config = runs.read_config(directory)
        self = cls(config.recipe, directory=directory, **frames)
        self._log = self._ingest(config.fingerprint)
        self._serving()  # what cannot be read is said here
        return self

    def gathered(self) -> "Recommender":
        """This recommender with all its weights on this machine, for an evaluation, an index and an export.

        For a recommender that was trained with parameter servers. It reads the weights when they are first needed, so
        use it outside of the strategy's scope.
        """
        other = copy.copy(self)
        other._assembly = other._served = other._index = other._retriever = None
        return other

    def fit(self, verbose: int = 1, callbacks: Sequence[tf.keras.callbacks.Callback] = ()) -> "Recommender":
        """Reads the data, trains, and keeps the best epoch's weights; returns self.

        In the folder of a run that was stopped it goes on from the last checkpoint. In the scope of a
        `tf.distribute` strategy it trains on that strategy's devices; see docs/distributed.md.
        """
        resumed = bool(of_chief(float((self.directory / runs.CONFIG).is_file())))
        if resumed:
            config = runs.read_config(self.directory)
            self.recipe, self._space = config.recipe, config.embedding_space
            self._parent = Path(config.parent) if config.parent else None
        else:
            self._space = uuid.uuid4().hex
        log = self._ingest(config.fingerprint if resumed else None)
        if verbose:
            print(self.ingest_report, flush=True)
        self._check_title(log)
        if not resumed and is_chief():
            self.recipe = runs.with_layers(self.recipe, self.directory, write=True)
        raced, folder = self.recipe.race is not None, self.directory / runs.CHECKPOINT
        if raced:
            self._keep_config(log, trained_until=0)  # so that a race that is stopped can go on
            self.recipe = race(self.recipe, log, self.directory, verbose)
        new = raced or not resumed
        a = begun(self.recipe, log, folder, new, self._parent)
        said = chosen(self.recipe.evaluation, a.split.validation, log.timed)[1]
        if verbose and said:
            print(said, flush=True)
        self._log, self._assembly, self.recipe = log, a, a.recipe
        if new:
            self._keep_config(log, trained_until=int(log.timestamp[a.split.train[-1]]))
        self._fit_report = fit(
            a.model, a.batches, self.recipe.training, Validation(a), folder, verbose, callbacks,
            start_from=runs.weights(self._parent).folder if self._parent else None,
            start=None if self._parent else a.start,
        )
        self._served = self._index = self._retriever = None
        self._choose_weights(verbose)
        if verbose and 1 < self._fit_report.epochs == self._fit_report.best_epoch + 1:
            print("The last epoch was the best: more epochs (training.epochs; of a race, --minutes) may find a better "
                  "one.", flush=True)
        return self

    def refit(self, verbose: int = 1, callbacks: Sequence[tf.keras.callbacks.Callback] = ()) -> "Recommender":
        """Trains once more, on all events, as many epochs as validation chose; returns self.

        `evaluate` still measures the training of `fit`; all other methods use the refit from now on. A refit that was
        stopped in this run's folder goes on. In the scope of a strategy it trains as `fit` does.

        Raises:
          TrainingError: `fit` was not called before.
        """
        if self._fit_report is None:
            raise TrainingError(
                "`refit` trains for the number of epochs that `fit` chose. Received: no training. Call `fit()` first: "
                "it does not train a finished run again."
            )
        a, epochs = self.assembly, self._fit_report.best_epoch + 1
        whole = refit(a, self.directory, self._parent, epochs, verbose, callbacks)
        self._served = whole, runs.weights(self.directory)
        self._index = self._retriever = None
        return self

    @property
    def assembly(self) -> Assembly:
        """The `Assembly` that is evaluated on held-out events: log, split, model, encoded features.

        Raises:
          TrainingError: there is none yet.
        """
        if self._assembly is None:
            self._assembly = restored(self.recipe, self._known_log(), self.directory / runs.CHECKPOINT)
        return self._assembly

    @property
    def served(self) -> Assembly:
        """The `Assembly` of what is served: the refit's where the run has one, else `assembly`."""
        return self._serving()[0]

    def _serving(self) -> tuple[Assembly, runs.Weights]:
        """(`served`, its `runs.Weights`)."""
        if self._served is None:
            log, weights = self._known_log(), runs.weights(self.directory)
            whole = weights.folder.name == runs.REFIT
            a = restored(self.recipe, log, weights.folder, held_out=False) if whole else self.assembly
            self._served = a, weights
        return self._served

    def _known_log(self) -> InteractionLog:
        if self._log is None:
            raise TrainingError("This recommender is not trained. Call `fit()`, or `Recommender.load(run)`.")
        return self._log

    def evaluate(self, on: str = "test", scores: pd.DataFrame | None = None) -> dict[str, Any]:
        """Ranks the whole catalogue for every query of `on`: by the model of `fit` and by the baselines.

        After a `refit` it still ranks by the model of `fit`, as the refit was trained on the targets.

        Args:
          on: "test" or "validation".
          scores: a frame with user_id, item_id and score of another model, which is evaluated by the same rules.

        Returns:
          A dict, as it stands in `metrics.json`: `protocol`, `test` (or `validation`), `slices`, `baselines`, ….
          With a reranker, `test` is of the reranked answers, and `retrieval` stands among the baselines.
        """
        self.evaluations, figures = evaluated(self.assembly, on, scores)
        return {
            **figures,
            "data": {**vars(self.ingest_report), "fingerprint": self.assembly.log.fingerprint()},
            "training": self._fit_report.to_dict() if self._fit_report else None,
            "popularity_weight": self.assembly.weights.popularity,
            "neighbour_weight": self.assembly.weights.neighbours,
            "repeat_weight": self.assembly.weights.repeats,
            "versions": versions(),
        }

    def index(self, config: IndexConfig | None = None) -> IndexReport:
        """Builds the index that `recommend` and `export` use, tuned to its target recall; returns its report.

        An index of a kind that no SavedModel holds, as "faiss_hnsw", is kept in the run's folder `index`. Then it is
        the run's index, for those who load the run too, until another one is built by this method.
        """
        if config is not None:
            self.recipe = dataclasses.replace(self.recipe, index=config)
        return self._tune(self.directory / runs.INDEX if is_chief() else None)

    def _tune(self, folder: Path | None = None) -> IndexReport:
        self._index, self._index_report = tuned_index(self.served, self.recipe.index, folder)
        self._retriever = None
        return self._index_report

    def _find_index(self) -> None:
        """Makes sure that there is an index: the one that the run keeps, or a new one."""
        self._take_kept()
        if self._index is None:
            self.index()

    def _take_kept(self) -> None:
        """The index that the run keeps, where it has one and none was built here."""
        found = kept_index(self.served, self.directory / runs.INDEX) if self._index is None else None
        if found is not None:
            config, self._index, self._index_report = found
            self.recipe = dataclasses.replace(self.recipe, index=config)

    @property
    def retriever(self) -> Retriever:
        """The `Retriever` of this model and index: raw features in, item ids out."""
        if self._retriever is None:
            self._find_index()
            self._retriever = retriever(self.served, self._index)
        return self._retriever

    def recommend(self, user_ids: Any, k: int = 10, exclude_seen: bool | None = None) -> pd.DataFrame:
        """The top k items of each user, from all that the log knows of them, as of just after its last event.

        An unknown user is served too.

        Args:
          user_ids: one id or a list.
          k: items a user.
          exclude_seen: whether what a user already has is left out; None: as the recipe's evaluation does.

        Returns:
          A frame with `user_id`, `rank`, `item_id`, `score` and, when the recipe names one, the title.
        """
        user_ids = [user_ids] if np.isscalar(user_ids) else list(user_ids)
        if not user_ids or k < 1:
            raise DataError(f"`user_ids` must name a user and `k` be at least 1. Received: {user_ids!r}, k={k!r}.")
        if exclude_seen is None:
            exclude_seen = self.recipe.evaluation.exclude_seen
        features, seen = live_requests(self.served, user_ids)
        ids, scores = self.retriever.recommend(
            features, tf.constant(k), seen if exclude_seen else seen[:, :0], seen[:1, :0], tf.constant(0.0)
        )
        rows = [
            {c.USER_ID: user, "rank": r + 1, c.ITEM_ID: item, "score": float(score)}
            for user, found, values in zip(user_ids, _plain(ids.numpy()), scores.numpy())
            for r, (item, score) in enumerate(zip(found, values)) if score > tf.float32.min
        ]
        return self._titled(pd.DataFrame(rows, columns=[c.USER_ID, "rank", c.ITEM_ID, "score"]))

    def similar(self, item_id: Any, k: int = 10) -> pd.DataFrame:
        """The k items most like an item, by `Similarity`: a frame with `rank`, `item_id`, `score`, title.

        Raises:
          DataError: the catalogue has no such item.
        """
        spec = tf.TensorSpec([None], self.retriever.item_ids.dtype)
        item = to_tensor(as_ids([item_id], self._log.items, c.ITEM_ID), spec)
        if int(self.retriever.rows_of(item)[0]) < 0:
            known = _plain(self.retriever.item_ids.numpy()[:1000])[0]
            raise DataError(
                f"`item_id` must be in the catalogue. Received: item_id={item_id!r}." + nearest(item_id, known)
            )
        ids, scores = self.retriever.similar_items(item, tf.constant(k))
        frame = pd.DataFrame({"rank": np.arange(1, len(ids[0]) + 1), c.ITEM_ID: _plain(ids.numpy())[0],
                              "score": scores.numpy()[0]})
        return self._titled(frame[frame["score"] > tf.float32.min])

    def watched(self, user_id: Any, n: int = 5) -> pd.DataFrame:
        """The user's last n items, newest first: a frame with `item_id` and the title."""
        log = self._known_log()
        row = user_rows(log, [user_id])[0]
        items = log.item[log.user == row][::-1][:n]
        return self._titled(pd.DataFrame({c.ITEM_ID: log.items[c.ITEM_ID].take(items).to_pylist()}))

    def export(self, root: str | Path | None = None, flavour: str | None = None, force: bool = False) -> Path:
        """Writes the next version of the SavedModel under `root` (the run's `export/` by default).

        Args:
          root: the folder of all versions.
          flavour: "scann", "portable" (no custom op: exact search, or stock-op IVF for a large catalogue), or None:
            as the recipe's index says.
          force: True exports an index below its target recall too, and an update that did not pass its gate.

        Returns:
          The version's path. Without `root`, `latest` points to this run from now on, and what serves it takes it in.

        Raises:
          ConfigError: the run is an update that was refused, or stopped before its gate.
        """
        if not force:
            runs.check_passed(self.directory, "Run `twotower update` again, or say --force.")
        a, weights = self._serving()
        self._index_for(flavour)
        rows = a.split.test.row[:8] if len(a.split.test.row) else a.split.train[-8:]
        fields = {
            "model": self.recipe.name,
            "schema": to_dict(self.recipe.schema),
            "recipe": to_dict(self.recipe),
            "vocabulary": self._vocabulary_sizes(),
            "embedding_space": weights.embedding_space,
            "lineage": runs.lineage(self.directory),
            "temperature": a.model.temperature,
            "popularity_weight": a.weights.popularity,
            "neighbour_weight": a.weights.neighbours,
            "repeat_weight": a.weights.repeats,
            "history_events": a.past_length,
            "exclude_seen": self.recipe.evaluation.exclude_seen,
            "training_events": int(a.train_counts.sum()),
            "trained_on": self._trained_on(),
            "metrics": self.evaluations["model"].metrics if self.evaluations else runs.test_metrics(self.directory),
        }
        path = export(
            self.retriever, root or self.directory / runs.EXPORT, fields, [a.examples.raw_queries(rows, a.past_length)],
            self._index_report, model_name=self.recipe.name, force=force,  # type: ignore[arg-type]  # by `_index_for`
            least_version=1 if root else runs.next_version(self.directory), table=a.log.items.take(a.catalogue),
            kind=chosen_kind(self.recipe.index, len(a.catalogue)),
        )
        if root is None:
            runs.point_latest(self.directory)
        return path

    def active_users(self, n: int) -> list[Any]:
        """Ids of n users with test events where there are such, spread over the log."""
        a = self.assembly
        users = np.unique(a.split.test.user if len(a.split.test.user) else a.log.user)
        chosen = users[np.linspace(0, len(users) - 1, min(n, len(users))).astype(int)]
        return a.log.users[c.USER_ID].take(chosen).to_pylist()

    def _index_for(self, flavour: str | None) -> None:
        """Makes sure that there is an index, of a kind that the flavour allows."""
        self._take_kept()
        config, size = self.recipe.index, len(self.served.catalogue)
        kind = chosen_kind(config, size)
        portable = kind.place == SAVED_MODEL and kind.op_library is None
        if flavour == SCANN and kind.op_library != SCANN:
            self._rebuild(SCANN)
        elif flavour == PORTABLE and not portable:
            self._rebuild("ivf" if size >= config.exact_below else "exact")
        else:
            self._find_index()

    def _rebuild(self, kind: str) -> None:
        """An index of another kind, for an export; what the run keeps stays."""
        self.recipe = dataclasses.replace(self.recipe, index=dataclasses.replace(self.recipe.index, kind=kind))
        self._tune()

    def _ingest(self, fingerprint: str | None = None) -> InteractionLog:
        """The log. With the `fingerprint` of an earlier training, only if it is still the same log."""
        log, self.ingest_report = ingest(
            self._source, limit=self.recipe.rejected_limit,  # type: ignore[arg-type]  # the constructor has seen to it
            rejected_to=self.directory / runs.REJECTED if is_chief() else None,
            require_items=self.recipe.require_items,
        )
        if fingerprint is not None and log.fingerprint() != fingerprint:
            raise DataError(
                f"The log of {self._source.name} is not the one that {self.directory} was trained on: its split and "
                "figures would be others. Train a new run, or name the log as it was."
            )
        return log

    def _keep_config(self, log: InteractionLog, trained_until: int) -> None:
        parent = str(self._parent) if self._parent else None
        if is_chief():
            self.directory.mkdir(parents=True, exist_ok=True)
            runs.write_config(
                self.directory, runs.RunConfig(self.recipe, self._space, log.fingerprint(), trained_until, parent)
            )

    def _choose_weights(self, verbose: int) -> None:
        """Those of the recipe's `ScoreWeights` that rank validation best; of an update there are the parent's alone."""
        a, monitor = self.assembly, self.recipe.training.monitor
        found = {weights: metrics[monitor] for weights, metrics in Validation(a).by_weights().items()}
        a.weights, tried = next(iter(found)), [[*weights, value] for weights, value in found.items()]
        if verbose and len(found) > 1:
            w, said = a.weights, f"log p(item) {a.weights.popularity:g}"
            said += f", neighbours of the past {w.neighbours:g}" if self.recipe.model.neighbours else ""
            said += f", what was had before {w.repeats:g}" if self.recipe.model.repeats else ""
            print(f"Weights in the score, chosen by validation: {said} ({monitor} {found[w]:.4f}).", flush=True)
        if is_chief():
            if a.weights.neighbours:
                a.terms.keep_neighbours(self.directory / runs.CHECKPOINT)
            weights = {"weight": a.weights.popularity, "neighbours": a.weights.neighbours, "repeats": a.weights.repeats}
            runs.write_json(self.directory / runs.POPULARITY, {**weights, "monitor": monitor, "validation": tried})

    def _check_title(self, log: InteractionLog) -> None:
        title, known = self.recipe.title, log.items.column_names
        if title is not None and title not in known:
            raise ConfigError(f"`title` must be a column of the items. Received: {title!r}." + nearest(title, known))

    def _trained_on(self) -> dict[str, Any]:
        """For the manifest: what the exported model learned from, and how much the evaluated model did not see."""
        a, weights = self._serving()
        refit = runs.read_refit(self.directory) if weights.folder.name == runs.REFIT else None
        held_out = len(a.log) - len(a.split.known) if refit is None else refit.held_out
        return {"events": len(a.split.known), "until": weights.trained_until, "refit": refit is not None,
                "held_out": held_out}

    def _titled(self, frame: pd.DataFrame) -> pd.DataFrame:
        title, items = self.recipe.title, self._log.items
        if title is None:
            return frame
        titles = dict(zip(items[c.ITEM_ID].to_pylist(), items[title].to_pylist()))
        return frame.assign(title=[titles.get(i) or str(i) for i in frame[c.ITEM_ID]])

    def _vocabulary_sizes(self) -> dict[str, dict[str, int]]:
        model = self.served.model
        return {
            side: {field.name: field.size for field in tower.fields if hasattr(field, "size")}
            for side, tower in (("query", model.query_tower), ("candidate", model.candidate_tower))
        }


def _plain(ids: np.ndarray) -> list[list[str | int]]:
    """Ids as Python values: bytes become text."""
    return [
        [i.decode("utf-8", "replace") if isinstance(i, bytes) else int(i) for i in row] for row in np.atleast_2d(ids)
    ]


def load(directory: str | Path, **frames: Any) -> Recommender:
    """A trained recommender from its run's folder; see `Recommender.load`."""
    return Recommender.load(directory, **frames)
