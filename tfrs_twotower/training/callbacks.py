"""Keras callbacks: full-catalogue evaluation with early stopping, checkpoints, hard negatives."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrs_twotower.errors import ConfigError, TrainingError, nearest
from tfrs_twotower.models import EnsembleObjective, SampledObjective
from tfrs_twotower.training import epoch_lines
from tfrs_twotower.training.averaging import WeightAverage
from tfrs_twotower.training.distribution import of_chief

_AT_ONCE = 2**22  # numbers of a table


class Progress(tf.Module):
    """Step counter and early-stopping state, in variables, so that a checkpoint holds them beside the weights."""

    def __init__(self) -> None:
        super().__init__(name="progress")
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.best = tf.Variable(float("-inf"), dtype=tf.float64, trainable=False, name="best")
        self.best_epoch = tf.Variable(-1, dtype=tf.int64, trainable=False, name="best_epoch")
        self.done = tf.Variable(False, trainable=False, name="done")


class FullCatalogueEvaluation(tf.keras.callbacks.Callback):
    """Evaluates after each epoch, keeps the best weights, stops when they stay the best for `patience` epochs.

    Args:
      evaluate: () -> {metric: value}, over the whole catalogue.
      monitor: the metric that decides.
      patience: epochs without a better one before it stops; 0 never stops.
      progress: the `Progress` of this training.
      save_best: () -> None, called when the weights are the best so far.
      history: a JSON-lines file that gets one line per epoch.
      average: a `WeightAverage`, which is then evaluated and kept, or None.
    """

    def __init__(
        self, evaluate: Callable[[], Mapping[str, float]], monitor: str, patience: int, progress: Progress,
        save_best: Callable[[], None], history: str | Path, average: WeightAverage | None = None,
    ) -> None:
        super().__init__()
        self._evaluate, self._monitor, self._patience = evaluate, monitor, patience
        self._progress, self._save_best, self._history = progress, save_best, history
        self._average = average
        self.seconds = 0.0  # of the last evaluation

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        with self._average.applied() if self._average else contextlib.nullcontext():
            self._judge(epoch, logs)  # type: ignore[arg-type]  # Keras gives them

    def _judge(self, epoch: int, logs: dict[str, float]) -> None:
        started = time.perf_counter()
        metrics = self._evaluate()
        if self._monitor not in metrics:
            raise ConfigError(
                f"`training.monitor` names no metric: {self._monitor!r}." + nearest(self._monitor, metrics)
            )
        value = of_chief(metrics[self._monitor])  # so that all workers stop at once
        progress = self._progress
        if value > float(progress.best.numpy()):
            progress.best.assign(value)
            progress.best_epoch.assign(epoch)
            self._save_best()
        elif self._patience and epoch - int(progress.best_epoch.numpy()) >= self._patience:
            progress.done.assign(True)
            self.model.stop_training = True
        logs.update({f"val_{name}": of_all for name, of_all in metrics.items()})  # for TensorBoard
        logs[f"val_{self._monitor}"] = value
        self.seconds = round(time.perf_counter() - started, 3)
        line = {"epoch": epoch, "step": int(progress.step.numpy()), "loss": float(logs["loss"]), **metrics,
                "evaluation_seconds": self.seconds}
        epoch_lines.add(self._history, line)


class Checkpoints(tf.keras.callbacks.Callback):
    """Counts steps; saves a checkpoint every `every` steps and at each epoch's end, finite weights only.

    Put it after `FullCatalogueEvaluation`, so that an epoch's checkpoint holds the result of its evaluation. So the
    checkpoint of an epoch's last step is saved at the epoch's end.

    Args:
      manager: a `tf.train.CheckpointManager` over model, optimizer and progress.
      progress: the `Progress` of this training.
      every: steps between two checkpoints.
      per_epoch: steps of an epoch.
      average: a `WeightAverage` that gets the weights of each step, or None.
    """

    def __init__(
        self, manager: tf.train.CheckpointManager, progress: Progress, every: int, per_epoch: int,
        average: WeightAverage | None = None,
    ) -> None:
        super().__init__()
        self._average = average
        self._manager, self._progress, self._every, self._per_epoch = manager, progress, every, per_epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self._progress.step.assign_add(1)
        if self._average:
            self._average.update()
        step = int(self._progress.step.numpy())
        if step % self._every == 0 and step % self._per_epoch:
            self.save()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.save()

    def save(self) -> None:
        """Saves, unless a weight is not finite."""
        for variable in self.model.trainable_variables:
            if not all(np.isfinite(float(tf.reduce_sum(tf.abs(part)))) for part in _parts(variable)):
                raise TrainingError(
                    f"The weights `{variable.name}` are not finite after step {int(self._progress.step.numpy())}. "
                    f"The last good checkpoint is {self._manager.latest_checkpoint}. Lower the learning rate."
                )
        self._manager.save(checkpoint_number=int(self._progress.step.numpy()))


def _parts(variable: tf.Variable) -> Iterator[tf.Tensor | tf.Variable]:
    """Its rows, some at a time: to read a table as a whole takes its memory once more."""
    if variable.shape.num_elements() <= _AT_ONCE or variable.shape.rank < 2:
        yield variable
        return
    rows = max(_AT_ONCE // variable.shape[1:].num_elements(), 1)
    for start in range(0, variable.shape[0], rows):
        yield tf.gather(variable, tf.range(start, min(start + rows, variable.shape[0])))


class HardNegativesRefresh(tf.keras.callbacks.Callback):
    """Embeds the catalogue anew for hard negatives, every `refresh_steps` steps from the first on.

    Args:
      objective: a `SampledObjective` that has hard negatives.
      progress: the `Progress` of this training.
    """

    def __init__(self, objective: SampledObjective | EnsembleObjective, progress: Progress) -> None:
        super().__init__()
        self._objective, self._progress = objective, progress

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        if int(self._progress.step.numpy()) % self._objective.hard.refresh_steps == 0:
            self._objective.refresh_hard()
