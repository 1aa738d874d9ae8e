"""Tuning: a search for better settings of a recipe, evaluated on its validation queries alone.

Optuna proposes settings, each is trained, and compared by the validation metric of its best epoch.
"""

import dataclasses
import gc
import math
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import tensorflow as tf

from tfrs_twotower import progress
from tfrs_twotower.configuration import config, override, to_dict
from tfrs_twotower.data import InteractionLog
from tfrs_twotower.errors import ConfigError, TrainingError
from tfrs_twotower.extras import require
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembling import assemble, completed
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.score_terms import ScoreTerms
from tfrs_twotower.ranges import Count, Positive
from tfrs_twotower.recipe import BESIDE, ModelConfig, Recipe
from tfrs_twotower.training import TrainingConfig, fit
from tfrs_twotower.tuning_space import Choice, Range, checked, default_space, parse_dimension, value_at

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

__all__ = ["Budget", "Choice", "Range", "Tuned", "default_space", "parse_dimension", "tune"]

STUDY, RECIPE = "study.db", "recipe.json"
_COUNTED = ("COMPLETE", "PRUNED")  # the states that use up the budget; a killed trial is run again
_STATES = {"COMPLETE": "done", "PRUNED": "cut short", "FAIL": "interrupted"}
_WARMUP_TRIALS, _WARMUP_EPOCHS = 4, 2  # no trial is stopped early before these


@config
class Budget:
    """The end of a search.

    Attributes:
      trials: trainings in the study, with those of earlier calls.
      minutes: of this call, or None. The running training then ends after its epoch, and counts.
    """

    trials: Count = 20
    minutes: Annotated[Positive | None, "None sets no limit."] = None


@dataclasses.dataclass(frozen=True)
class Tuned:
    """The outcome of a search.

    Attributes:
      recipe: the best `Recipe`, called `<name>-tuned`.
      path: its file, for `twotower train`.
      best: the number of its trial.
      value: its monitored metric on validation.
      trials: a frame, one row per trial in the order in which they ran: number, state, value (the monitored
        metric on validation), epochs, seconds, the settings tried, and why a trial failed.
    """

    recipe: Recipe
    path: Path
    best: int
    value: float
    trials: pd.DataFrame


def tune(
    recipe: Recipe, log: InteractionLog, directory: str | Path, space: Sequence[Choice | Range] | None = None,
    budget: Budget = Budget(), verbose: int = 1,
) -> Tuned:
    """Searches for settings that raise `recipe.training.monitor` on validation; test queries are not used.

    The recipe's own settings are the first trial, so on validation the outcome is no worse. A trial whose metric
    after an epoch is below the median of the earlier trials is stopped early. The study is a file in `directory`:
    the same call continues it, and runs interrupted trials again.

    Args:
      recipe: a `Recipe`; without a schema it gets one of the log's columns.
      log: an `InteractionLog`.
      directory: the folder of the study and the best recipe. One process at a time.
      space: a tuple of `Choice` and `Range`; None is `default_space`.
      budget: a `Budget`.
      verbose: 1 prints a line per trial, 0 nothing.

    Returns:
      A `Tuned`.

    Raises:
      ConfigError: the folder holds a study of another recipe, space or log.
      TrainingError: no trial finished.
      MissingExtraError: Optuna is not installed.
    """
    optuna = require("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    recipe = completed(recipe, log)
    space = checked(default_space(recipe, log.items.num_rows) if space is None else space, recipe)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    recipe = runs.with_layers(recipe, directory, write=True)
    study = _study(optuna, directory / STUDY, recipe, space, log)
    seconds = 60 * budget.minutes if budget.minutes else float("inf")
    left = budget.trials - sum(trial.state.name in _COUNTED for trial in study.trials)
    if left > 0:
        with progress.bar("Tuning", 1.0) as advance:
            done = _Done(advance, left, seconds)
            study.optimize(
                _Search(optuna, recipe, space, log, directory, time.monotonic() + seconds, done.part), n_trials=left,
                timeout=60 * budget.minutes if budget.minutes else None,
                callbacks=[done.trial, *([_print_line] if verbose else [])],
            )
    if not study.get_trials(states=[optuna.trial.TrialState.COMPLETE]):
        errors = [trial.user_attrs.get("error", "cut short") for trial in study.trials]
        raise TrainingError(f"No trial came to an end: {errors[-1] if errors else 'none began'}")
    best = override(recipe, study.best_trial.user_attrs["assignments"])
    best = dataclasses.replace(best, name=f"{recipe.name}-tuned")
    runs.write_json(directory / RECIPE, to_dict(best))
    return Tuned(best, directory / RECIPE, study.best_trial.number, study.best_value, _table(study))


class _Search:
    """One trial: an assembly, a training, its best validation metric."""

    def __init__(
        self, optuna: ModuleType, recipe: Recipe, space: Sequence[Choice | Range], log: InteractionLog, directory: Path,
        deadline: float, done: Callable[[float], None],
    ) -> None:
        self._optuna, self._recipe, self._space, self._done = optuna, recipe, space, done
        self._log, self._directory, self._deadline = log, directory, deadline
        self._first: tuple[Any, ScoreTerms] | None = None  # `_of_terms` of a trial, and the terms chosen for it

    def __call__(self, trial: "Trial") -> float:
        assignments = [text for dimension in self._space for text in dimension.suggest(trial)]
        trial.set_user_attr("assignments", assignments)
        try:
            return self._train(trial, override(self._recipe, assignments))
        except self._optuna.TrialPruned:
            raise
        except Exception as error:  # settings that cannot be combined, a loss that is not finite, no memory left
            trial.set_user_attr("error", _reason(error))
            raise self._optuna.TrialPruned() from error
        finally:
            tf.keras.backend.clear_session()
            gc.collect()

    def _assembled(self, recipe: Recipe) -> Assembly:
        """The trial's `Assembly`. The score's terms say nothing of the towers, so trials whose terms follow from the
        same choose them once."""
        asked = _of_terms(recipe)
        before, terms = self._first or (None, None)
        if terms is None or asked != before:
            a = assemble(recipe, self._log)
            self._first = asked, a.terms
            return a
        chosen = {name: getattr(terms.settings, name) for name in BESIDE}
        a = assemble(dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, **chosen)), self._log)
        a.terms.take_neighbours(terms)
        return a

    def _train(self, trial: "Trial", recipe: Recipe) -> float:
        a = self._assembled(recipe)
        queries = a.validation_queries()

        def validate() -> dict[str, float]:
            return a.evaluate(queries, a.model_scorer(queries), bootstrap=0).metrics

        metric, epochs = f"val_{recipe.training.monitor}", recipe.training.epochs
        watch = _Watch(trial, metric, epochs, self._deadline, self._optuna.TrialPruned, self._done)
        with tempfile.TemporaryDirectory(dir=self._directory) as scratch:
            report = fit(a.model, a.batches, recipe.training, validate, scratch, verbose=0, callbacks=[watch])
        trial.set_user_attr("epochs", report.epochs)
        return report.best


def _of_terms(recipe: Recipe) -> tuple[Recipe, list[tuple[str, ...]]]:
    """What the score's terms follow from, besides the log: a recipe without what the towers and their steps alone read,
    and the columns of a query, as repeats may count from the time of a request."""
    model = ModelConfig(**{name: getattr(recipe.model, name) for name in BESIDE})
    training = TrainingConfig(seed=recipe.training.seed, monitor=recipe.training.monitor)
    columns = [feature.columns for feature in recipe.schema.query]
    return dataclasses.replace(recipe, model=model, training=training, schema=None, race=None), columns


class _Watch(tf.keras.callbacks.Callback):
    """Reports each epoch's metric to the study; stops trials that are hopeless, or out of time."""

    def __init__(
        self, trial: "Trial", metric: str, epochs: int, deadline: float, pruned: type[Exception],
        done: Callable[[float], None],
    ) -> None:
        super().__init__()
        self._trial, self._metric, self._epochs, self._done = trial, metric, epochs, done
        self._deadline, self._pruned = deadline, pruned

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._trial.report(float(logs[self._metric]), epoch)  # type: ignore[index]  # Keras gives them
        self._trial.set_user_attr("epochs", epoch + 1)
        self._done((epoch + 1) / self._epochs)
        if time.monotonic() > self._deadline:
            self.model.stop_training = True
        elif self._trial.should_prune():
            raise self._pruned()


class _Done:
    """Tells a bar, whose total is 1, how much of a search is done: of its trials, or of its time if that is more."""

    def __init__(self, advance: Callable[..., None], trials: int, seconds: float) -> None:
        self._advance, self._trials, self._seconds, self._begun = advance, trials, seconds, time.monotonic()
        self._share, self._ended, self._best = 0.0, 0, ""
        self._limit = f", at most {seconds / 60:g} minutes" if math.isfinite(seconds) else ""
        self.part(0.0)

    def part(self, share: float) -> None:
        """So much of the running trial is done."""
        share = max((self._ended + share) / self._trials, (time.monotonic() - self._begun) / self._seconds)
        said = f"trial {min(self._ended + 1, self._trials)} of {self._trials}{self._limit}{self._best}"
        self._advance(max(min(share, 1.0) - self._share, 0.0), said)
        self._share = max(self._share, share)

    def trial(self, study: "Study", trial: "FrozenTrial") -> None:
        """A trial has ended."""
        self._ended += 1
        self._best = f", best so far {_best(study)}"
        self.part(0.0)


def _study(
    optuna: ModuleType, path: Path, recipe: Recipe, space: Sequence[Choice | Range], log: InteractionLog
) -> "Study":
    """The study in the file, new or continued."""
    asked = {"recipe": to_dict(recipe), "space": to_dict(space), "log": log.fingerprint()}
    seed = recipe.training.seed
    study = optuna.create_study(
        storage=f"sqlite:///{path}", study_name=recipe.name, direction="maximize", load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(_WARMUP_TRIALS, _WARMUP_EPOCHS),
    )
    # Another seed for each call, so that a continued study does not propose the same settings again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    known = study.user_attrs
    if not known:
        for name, value in asked.items():
            study.set_user_attr(name, value)
        own = {d.fields[0]: d.parameter(value_at(recipe, d.fields[0])) for d in space}
        study.enqueue_trial(own)
    elif changed := [name for name in asked if known.get(name) != asked[name]]:
        raise ConfigError(
            f"{path} is a study of another {' and '.join(changed)}. Name another folder, or delete this one."
        )
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):  # of a call that was killed
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    for trial in study.get_trials(states=[optuna.trial.TrialState.FAIL]):
        if _parameters(trial) not in map(_parameters, study.trials[trial.number + 1:]):
            study.enqueue_trial(_parameters(trial))
    return study


def _parameters(trial: "FrozenTrial") -> dict[str, Any]:
    """The settings of a trial."""
    return trial.system_attrs.get("fixed_params") or trial.params


def _reason(error: Exception) -> str:
    """The line of an error that names the fault. Keras wraps errors of layers in texts of many lines."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    inner = [line.split("Error: ", 1)[1] for line in lines if re.match(r"\s*\w+Error: ", line)]
    return inner[-1] if inner else lines[0]


def _print_line(study: "Study", trial: "FrozenTrial") -> None:
    value = f"{trial.value:.4f}" if trial.state.name == "COMPLETE" else trial.user_attrs.get("error", "cut short")
    epochs = trial.user_attrs.get("epochs", 0)
    seconds = trial.duration.total_seconds()
    settings = " ".join(trial.user_attrs.get("assignments", ()))
    print(f"trial {trial.number}: {value}, {epochs} epochs, {seconds:.0f} s; best so far {_best(study)}; {settings}",
          flush=True)


def _best(study: "Study") -> str:
    """The largest value of a complete trial."""
    values = [t.value for t in study.trials if t.state.name == "COMPLETE" and t.value is not None]
    return f"{max(values):.4f}" if values else "none"


def _table(study: "Study") -> pd.DataFrame:
    rows = [
        {
            "trial": trial.number,
            "state": _STATES.get(trial.state.name, "waiting"),
            "value": trial.value if trial.state.name == "COMPLETE" else float("nan"),
            "epochs": trial.user_attrs.get("epochs", 0),
            "seconds": round(trial.duration.total_seconds(), 1) if trial.duration else 0.0,
            **trial.params,
            "error": trial.user_attrs.get("error", ""),
        }
        for trial in study.trials
    ]
    return pd.DataFrame(rows)
