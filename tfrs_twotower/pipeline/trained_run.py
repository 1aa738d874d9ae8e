"""A recipe and its data in a run's folder: trained, trained on all events, and restored."""

import contextlib
import functools
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow as tf
from typing_extensions import Self

from tfrs_twotower.data import Columns, Frames, IngestReport, InteractionLog
from tfrs_twotower.errors import ConfigError, TrainingError, invalid, nearest
from tfrs_twotower.evaluation import Evaluation, chosen
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.dealing import by_chief, dealt, forget
from tfrs_twotower.pipeline.few_shot import learn_few_shot
from tfrs_twotower.pipeline.racing import race
from tfrs_twotower.pipeline.reading import keep, read
from tfrs_twotower.pipeline.reporting import Figures
from tfrs_twotower.pipeline.searching import Validation, choose_weights
from tfrs_twotower.pipeline.trainings import begun, chosen_epochs, refit, restored
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.training import FitReport, fit, is_chief, of_chief


class TrainedRun:
    """The training of a `Recommender`: its log, its run's folder, and the models of the run.

    Args:
      recipe, interactions, users, items, columns, directory, parent, root: as in `Recommender`.
    """

    def __init__(
        self, recipe: Recipe, interactions: pd.DataFrame | None = None, users: pd.DataFrame | None = None,
        items: pd.DataFrame | None = None, columns: Columns | None = None, directory: str | Path | None = None,
        parent: str | Path | None = None, root: str | Path = "runs",
    ) -> None:
        if not isinstance(recipe, Recipe):
            way_out = "Write for example tt.recipes.load('plain')."  # type: ignore[unreachable]  # by its annotation
            raise ConfigError(invalid("recipe", "be a Recipe", recipe, way_out))
        begun = interactions is None and directory is not None and (Path(directory) / runs.CONFIG).is_file()
        if (interactions is None) == (recipe.source is None) and not begun:
            raise ConfigError(
                f"`interactions` must be given when the recipe has no source, and only then. Received: recipe "
                f"`{recipe.name}` with source={type(recipe.source).__name__}. Pass a frame, or a recipe with a source. "
                "`recipe.on(None)` is a recipe for frames: it derives features from their columns."
            )
        frames: dict[str, Any] = {"columns": columns} if columns is not None else {}
        self._frames = None if interactions is None else Frames(interactions, users, items, **frames)
        self.recipe = recipe
        self._root, self._directory = Path(root), Path(directory) if directory else None
        self._parent = Path(parent) if parent else None
        self._log: InteractionLog | None = None
        self._assembly: Assembly | None = None
        self._served: tuple[Assembly, runs.Weights] | None = None
        self._fit_report: FitReport | None = None
        self._figures: Figures | None = None
        self.evaluations: dict[str, Evaluation] = {}
        self.ingest_report: IngestReport | None = None

    @classmethod
    def load(cls, directory: str | Path, **frames: Any) -> Self:
        """A trained recommender from its run's folder.

        Args:
          directory: the folder.
          frames: as in the constructor, for a run of data frames that does not keep their log.

        Raises:
          ConfigError: the frames are needed and not given, or a file of the run cannot be read.
          DataError: the log is not the one that the run was trained on.
        """
        config = runs.read_config(directory)
        self = cls(config.recipe, directory=directory, parent=config.parent, **frames)
        self._log = self._read(config.fingerprint)
        self._serving()  # what cannot be read is said here
        return self

    def __repr__(self) -> str:
        where = "without a folder yet" if self._directory is None else f"in {self._directory}"
        if self._log is None:
            return f"Recommender of the recipe {self.recipe.name}, {where}: not trained. Call fit()."
        log, whole = self._log, self._served is not None and self._served[1].folder.name == runs.REFIT
        kept = "trained on all events" if whole else "trained without the held-out events"
        return (f"Recommender of the recipe {self.recipe.name}, {where}: {kept}; {len(log):,} events, "
                f"{log.users.num_rows:,} users, {log.items.num_rows:,} items")

    @property
    def directory(self) -> Path:
        """The run's folder.

        Raises:
          TrainingError: `fit` has not made one yet.
        """
        if self._directory is None:
            raise TrainingError(
                "The run has no folder before it is trained. Call `fit()`, or give `directory`: all workers of a "
                "distributed training share one."
            )
        return self._directory

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """`runs.writing` of the run's folder, which is made. If nothing was written, it is removed."""
        given, recipe = self._directory, self.recipe
        self._directory = given or runs.create(self._root, recipe.name)
        try:
            with runs.writing(self._directory):
                yield
        finally:
            if not self._directory.exists():
                self.recipe, self._log, self._assembly = recipe, None, None  # as before
                if given is None:
                    with contextlib.suppress(OSError):  # what holds another run is not empty
                        self._directory.parent.rmdir()
                    self._directory = None

    def fit(self, verbose: int = 1, callbacks: Sequence[tf.keras.callbacks.Callback] = ()) -> Self:
        """Reads the data, trains, and keeps the best epoch's weights; returns self.

        In the folder of a stopped run it continues from the last checkpoint. In the scope of a
        `tf.distribute` strategy it trains on that strategy's devices; see docs/distributed.md. A training that fails
        before its first checkpoint leaves no folder.

        Raises:
          TrainingError: another process trains the run, or a loss is not finite.
        """
        with self.writing() if is_chief() else contextlib.nullcontext():
            if verbose:
                print(f"Recipe {self.recipe.name} → {os.path.relpath(self.directory)}", flush=True)
            if is_chief():
                runs.forget_unused_log(self.directory)
            resumed = bool(of_chief(float((self.directory / runs.CONFIG).is_file())))
            if resumed:
                config = runs.read_config(self.directory)
                self._check_same(config.recipe)
                self.recipe, self._parent = config.recipe, Path(config.parent) if config.parent else None
            read = functools.partial(self._read, config.fingerprint if resumed else None)
            shared = self._parent is None and dealt(self.recipe)
            log = by_chief(read, shared)
            if verbose and log is not None:
                print(self.ingest_report, flush=True)
            own = is_chief() and not resumed
            with runs.kept_from_checkpoint_on(self.directory) if own else contextlib.nullcontext():
                by_chief(functools.partial(self._check_title, log), shared)
                self._train(log, config.embedding_space if resumed else None, verbose, callbacks)
        return self

    def _check_same(self, kept: Recipe) -> None:
        """Raises `ConfigError` if the folder holds a run of another recipe or source than the one that is asked for."""
        for name in ("name", "source"):
            asked, there = getattr(self.recipe, name), getattr(kept, name)
            if asked != there:
                raise ConfigError(invalid(f"recipe.{name}", f"be that of the run in the folder: {there!r}", asked, (
                    f"{self.directory} holds a run already. Name another folder, or continue that run with its own "
                    "settings: twotower train --resume RUN."
                )))

    def _train(
        self, log: InteractionLog, space: str | None, verbose: int, callbacks: Sequence[tf.keras.callbacks.Callback]
    ) -> None:
        """`fit` after the log is read, if not by the chief alone; `space`: the embedding space of a run that continues.
        """
        new, space = space is None, space or uuid.uuid4().hex
        if new and is_chief():
            self.recipe = runs.with_layers(self.recipe, self.directory, write=True)
            source = self._frames or self.recipe.source
            keep(log, self.ingest_report, source, self.directory)  # type: ignore[arg-type]  # it was read
        raced, folder = self.recipe.race is not None, self.directory / runs.CHECKPOINT
        if raced:
            self._keep_config(log, space, trained_until=0)  # so that a stopped race can continue
            self.recipe = race(self.recipe, log, self.directory, verbose)
        new = raced or new
        a = begun(self.recipe, log, folder, new, self._parent)
        if raced:
            a.terms.share_neighbours(folder)
        said = not a.partial and chosen(self.recipe.evaluation, a.split.validation, a.log.timed)[1]
        if verbose and said:
            print(said, flush=True)
        self._log, self._assembly, self.recipe = a.log, a, a.recipe
        if new:
            self._keep_config(a.log, space, trained_until=int(a.log.timestamp[a.split.train[-1]]))
        measured = {self.recipe.training.monitor: 0.0}  # a worker that has a part of the log leaves it to the chief
        self._fit_report = fit(
            a.model, a.batches, self.recipe.training, (lambda: measured) if a.partial else Validation(a), folder,
            verbose, callbacks,
            start_from=runs.weights(self._parent).folder if self._parent else None,
            start=None if self._parent else a.start,
        )
        forget(folder)
        self._served = self._figures = None
        self._forget()
        if not a.partial:
            learn_few_shot(a, folder)
            choose_weights(a, self.directory, verbose)
        if verbose and 1 < self._fit_report.epochs == self._fit_report.best_epoch + 1:
            print("The last epoch was the best: more epochs (training.epochs; of a race, --minutes) may find a better "
                  "one.", flush=True)

    def refit(self, verbose: int = 1, callbacks: Sequence[tf.keras.callbacks.Callback] = ()) -> Self:
        """Trains once more, on all events, for the number of epochs that validation chose; returns self.

        `evaluate` still measures the training of `fit`; all other methods use the refit from then on. A stopped refit
        in this run's folder continues. In the scope of a strategy it trains as `fit` does.

        Raises:
          TrainingError: `fit` was not called before, or did not finish.
        """
        epochs = self._fit_report.best_epoch + 1 if self._fit_report else None
        if epochs is None and self._log is not None:
            epochs = chosen_epochs(self.directory)
        if epochs is None:
            raise TrainingError(
                "`refit` trains for the number of epochs that `fit` chose. Received: no finished training. "
                "Call `fit()` first: it does not train a finished run again."
            )
        with self.writing() if is_chief() else contextlib.nullcontext():
            whole = refit(self.assembly, self.directory, self._parent, epochs, verbose, callbacks)
            forget(self.directory / runs.REFIT)
        self._served = whole, runs.weights(self.directory)
        self._forget()
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
        """The `Assembly` that is served: that of the refit if the run has one, else `assembly`."""
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

    def _forget(self, weights: bool = False) -> None:
        """Drops all results of the weights, and the weights too if `weights`. They are made again when needed."""
        if weights:
            self._assembly = self._served = None

    def _read(self, fingerprint: str | None = None) -> InteractionLog:
        """The log. With the `fingerprint` of an earlier training, only if it is still the same log."""
        log, self.ingest_report = read(
            self.recipe, self.directory, self._frames, is_chief(), fingerprint, self._parent
        )
        return log

    def _keep_config(self, log: InteractionLog, space: str, trained_until: int) -> None:
        parent = str(self._parent) if self._parent else None
        if is_chief():
            self.directory.mkdir(parents=True, exist_ok=True)
            runs.write_config(
                self.directory, runs.RunConfig(self.recipe, space, log.fingerprint(), trained_until, parent)
            )

    def _check_title(self, log: InteractionLog) -> None:
        title, known = self.recipe.title, log.items.column_names
        if title is not None and title not in known:
            raise ConfigError(f"`title` must be a column of the items. Received: {title!r}." + nearest(title, known))
