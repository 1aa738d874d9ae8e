"""Training: `model.fit` with full-catalogue early stopping, checkpoints and exact resume."""

import contextlib
import dataclasses
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import ops  # for `_gradients_forgotten`

from tfrs_twotower.errors import TrainingError
from tfrs_twotower.models.two_tower import NOT_FINITE, TwoTowerModel
from tfrs_twotower.training import epoch_lines
from tfrs_twotower.training.averaging import WeightAverage
from tfrs_twotower.training.batches import TrainingBatches
from tfrs_twotower.training.callbacks import Checkpoints, FullCatalogueEvaluation, HardNegativesRefresh, Progress
from tfrs_twotower.training.config import TrainingConfig
from tfrs_twotower.training.diagnosis import culprit
from tfrs_twotower.training.distribution import distributed, is_chief, of_chief
from tfrs_twotower.training.epoch_bar import EpochBar
from tfrs_twotower.training.kept_checkpoints import UNREADABLE, discard_torn_first, kept_checkpoints, newest_checkpoint
from tfrs_twotower.training.optimizers import build
from tfrs_twotower.training.parameter_servers import asynchronous, check, fit_in_turn, servers_needed
from tfrs_twotower.training.precision import compiled_dense
from tfrs_twotower.training.sequences import SequenceBatches
from tfrs_twotower.training.warm_start import not_kept, warm_start

TENSORBOARD = "tensorboard"  # the folder of its logs, beside the checkpoints


@dataclasses.dataclass(frozen=True)
class FitReport:
    """The times and the end of a training; `best_epoch` is −1 without validation.

    An epoch's seconds are those of its steps and its evaluation.
    """

    steps: int
    epochs: int
    best_epoch: int
    best: float
    seconds: float
    seconds_an_epoch: float
    examples_per_second: float
    peak_memory_mb: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return dataclasses.asdict(self)


class _StepClock(tf.keras.callbacks.Callback):
    """Seconds of the training steps, without the first one, which traces the graph."""

    _last: float | None

    def __init__(self) -> None:
        super().__init__()
        self.seconds, self.steps, self._traced, self._last = 0.0, 0, False, None

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._last = time.perf_counter() if self._traced else None

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        now = time.perf_counter()
        if self._last is not None:
            self.seconds += now - self._last
            self.steps += 1
        self._last, self._traced = now, True


def fit(
    model: TwoTowerModel, data: TrainingBatches | SequenceBatches, config: TrainingConfig,
    evaluate: Callable[[], Mapping[str, float]] | None, directory: str | Path, verbose: int = 1,
    callbacks: Iterable[tf.keras.callbacks.Callback] = (), start_from: str | Path | None = None,
    start: Callable[[], None] | None = None, epochs: int | None = None,
) -> FitReport:
    """Trains `model`, resuming from `directory` when it holds a checkpoint; ends with the best weights.

    Under a `tf.distribute` strategy (call it in the strategy's scope, in every worker's process) the devices share each
    batch. The chief writes to `directory`; all read it, to resume and at the end.

    A run that is killed at any point and started again ends with the weights of an uninterrupted run. The
    order of the rows is a function of the seed and the step. All else that a step reads (weights, slots,
    random generators, streaming counts, early stopping) is in the checkpoint.

    Args:
      model: a `TwoTowerModel`.
      data: a `TrainingBatches`.
      config: a `TrainingConfig`.
      evaluate: () -> {metric: value}, on the validation queries. None validates nothing and keeps the last weights.
      directory: a folder for checkpoints (`last/`, `best/`), `history.jsonl` and TensorBoard's logs.
      verbose: 0 is silent; otherwise a line for each epoch, and on a terminal a bar.
      callbacks: further Keras callbacks.
      start_from: the checkpoint folder of another training, whose weights and slots this one starts with; see
        `warm_start`.
      start: () -> None, called once the weights exist, unless a checkpoint is resumed; or None.
      epochs: replaces `config.epochs`, except for the learning rate's schedule.

    Returns:
      A `FitReport`.

    Raises:
      TrainingError: loss, gradients or weights are not finite; names the batch and the feature.
    """
    with tempfile.TemporaryDirectory() as aside:  # TensorFlow needs all workers to save; only one copy is kept
        written = Path(directory) if is_chief() else Path(aside)
        written.mkdir(parents=True, exist_ok=True)
        epochs = config.epochs if epochs is None else epochs
        begin = (start_from, start)
        with _gradients_forgotten():
            return _fit(model, data, config, evaluate, Path(directory), written, verbose, callbacks, begin, epochs)


def _fit(
    model: TwoTowerModel, data: TrainingBatches | SequenceBatches, config: TrainingConfig,
    evaluate: Callable[[], Mapping[str, float]] | None, directory: Path, written: Path, verbose: int,
    callbacks: Iterable[tf.keras.callbacks.Callback], begin: tuple[str | Path | None, Callable[[], None] | None],
    epochs: int,
) -> FitReport:
    """As `fit`; it reads from `directory` and writes to `written`."""
    if asynchronous():
        check(config)
    per_epoch, started = data.steps_per_epoch, time.perf_counter()
    model.compile(optimizer=build(config.optimizer, per_epoch * config.epochs))
    model.create_weights(next(iter(data.dataset(0, 1))))
    start_from, start = begin
    discard_torn_first(directory / "last")
    if start is not None and not kept_checkpoints(directory / "last"):
        start()  # before the slots, which take twice the memory of the weights
    model.optimizer.build(model.trainable_variables)
    progress, clock = Progress(), _StepClock()
    if start_from is not None:  # a checkpoint of this run then replaces it
        warm_start(model, start_from)
    average = WeightAverage(model.trainable_variables, config.average) if config.average else None
    parts = {"average": average} if average is not None else {}
    state = tf.train.Checkpoint(model=model, optimizer=model.optimizer, progress=progress, **parts)
    _restore_last(state, directory / "last")
    last = tf.train.CheckpointManager(state, str(written / "last"), max_to_keep=2)
    best = tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(written / "best"), max_to_keep=1)
    epoch_lines.forget_later(written / epoch_lines.FILE, int(progress.step.numpy()))

    def keep() -> None:
        best.save(checkpoint_number=int(progress.step.numpy()))

    evaluations = [] if evaluate is None else [FullCatalogueEvaluation(
        evaluate, config.monitor, config.patience, progress, keep, written / epoch_lines.FILE, average
    )]
    bars = contextlib.ExitStack()
    stack = [
        clock,
        *evaluations,
        Checkpoints(last, progress, config.checkpoint_steps, per_epoch, average),
        tf.keras.callbacks.TensorBoard(str(written / TENSORBOARD), write_graph=False, profile_batch=0),
        *([EpochBar(epochs, per_epoch, config.monitor, bars)] if verbose else []),
        *callbacks,
    ]
    if getattr(model.objective, "hard", None) is not None:
        stack.append(HardNegativesRefresh(model.objective, progress))
    with bars, compiled_dense(model) if config.xla else contextlib.nullcontext():
        _run(model, data, config, per_epoch * epochs, progress, stack, last)
    if evaluate is None:
        with average.applied() if average is not None else contextlib.nullcontext():
            keep()
    elif verbose:
        stopped = ", stopped" if bool(progress.done.numpy()) else ""
        print(f"Best epoch: {int(progress.best_epoch.numpy()) + 1} of {epochs}{stopped}.", flush=True)
    of_chief(0.0)  # its checkpoints are written when all workers have arrived here
    best_step = (int(progress.best_epoch.numpy()) + 1) * per_epoch
    if average is not None or (evaluate is not None and best_step != int(progress.step.numpy())):
        restore_best(model, directory)  # only if it is another one: it holds the tables twice
    _forget_optimizer(model)
    return FitReport(
        steps=int(progress.step.numpy()),
        epochs=-(-int(progress.step.numpy()) // per_epoch),
        best_epoch=int(progress.best_epoch.numpy()),
        best=float(progress.best.numpy()),
        seconds=round(time.perf_counter() - started, 3),
        seconds_an_epoch=round(
            per_epoch * clock.seconds / max(clock.steps, 1) + sum(e.seconds for e in evaluations), 3
        ),
        examples_per_second=round(clock.steps * data.batch_size / clock.seconds, 1) if clock.steps else 0.0,
        peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    )


@contextlib.contextmanager
def _gradients_forgotten() -> Iterator[None]:
    """Lets TensorFlow forget the gradients of `tf.custom_gradient` in the graphs that the block traces.

    It keeps each for ever, by a name of its own, and with it the graph of the step, the tables and the slots.
    """
    registry = ops.gradient_registry
    known = {*registry.list()}
    try:
        yield
    finally:
        for name in {*registry.list()} - known:
            del registry._registry[name]


def _forget_optimizer(model: TwoTowerModel) -> None:
    """Frees the optimizer's slots, which take twice the memory of the weights, and the graph that holds them."""
    model._delete_tracking("optimizer")  # if it is only overwritten, Keras keeps a reference
    model.optimizer = model.train_function = model.train_tf_function = model._compile_config = None
    model._is_compiled = False  # so that Keras asks for `compile` before it trains further


def _run(
    model: TwoTowerModel, data: TrainingBatches | SequenceBatches, config: TrainingConfig, total: int,
    progress: Progress, stack: Sequence[tf.keras.callbacks.Callback], last: tf.train.CheckpointManager,
) -> None:
    """Calls `model.fit`: once for the rest of an interrupted epoch, once for the whole epochs after it."""
    per_epoch = data.steps_per_epoch
    while int(progress.step.numpy()) < total and not bool(progress.done.numpy()):
        step = int(progress.step.numpy())
        epoch, at = divmod(step, per_epoch)
        stop = (epoch + 1) * per_epoch if at else total
        try:
            if asynchronous():
                with servers_needed():
                    fit_in_turn(model, data, step, total, config.checkpoint_steps, stack)
            else:
                model.fit(
                    distributed(lambda context: data.dataset(step, stop, context)),
                    initial_epoch=epoch,
                    epochs=stop // per_epoch,
                    steps_per_epoch=min(per_epoch, stop - step),
                    verbose=0,
                    callbacks=stack,
                )
        except tf.errors.InvalidArgumentError as error:
            if NOT_FINITE not in str(error):
                raise
            raise TrainingError(_not_finite_message(model, data, last)) from error
        if model.stop_training:  # by early stopping, or by a callback of the caller's
            return


def _not_finite_message(
    model: TwoTowerModel, data: TrainingBatches | SequenceBatches, last: tf.train.CheckpointManager
) -> str:
    step = int(model.optimizer.iterations.numpy())
    epoch, at = divmod(step, data.steps_per_epoch)
    batch = next(iter(data.dataset(step, step + 1)))
    return (
        f"Training stopped at step {step} (epoch {epoch + 1}, batch {at + 1}): the loss or a gradient is not "
        f"finite. {culprit(model, batch)} No weight was changed by this step; the last good checkpoint is "
        f"{last.latest_checkpoint}. Check that feature's values, or lower the learning rate."
    )


def _restore_last(state: tf.train.Checkpoint, folder: Path) -> None:
    """Continues from the newest checkpoint that can be read; without any checkpoint, from the start."""
    errors = []
    for path in reversed(kept_checkpoints(folder)):
        try:
            state.restore(path).assert_existing_objects_matched()
            return
        except (*UNREADABLE, AssertionError) as error:
            errors.append(f"{path}: {str(error).splitlines()[0]}")
    if errors:
        raise TrainingError(f"No checkpoint can be read: {'; '.join(errors)}. Train the run anew.")


def restore_best(model: TwoTowerModel, directory: str | Path) -> None:
    """Gives `model` the best weights that `fit` kept in `directory`.

    Raises:
      TrainingError: there are none, or they cannot be read.
    """
    path = newest_checkpoint(Path(directory) / "best")
    if path is None:
        raise TrainingError(f"There is no checkpoint in {directory}. Run `twotower train` first.")
    children = tf.train.TrackableView(model).children(model)
    weights = {name: child for name, child in children.items() if name != "optimizer"}  # slots are twice as large
    try:
        tf.train.Checkpoint(model=tf.train.Checkpoint(**weights)).restore(path).expect_partial()
    except UNREADABLE as error:
        raise TrainingError(f"{path} cannot be read ({str(error).splitlines()[0]}). Train the run anew.") from error
    if missing := not_kept(model, path):
        raise TrainingError(
            f"{path} does not hold `{missing[0]}`, so that this part would not be trained. A class of the recipe was "
            "changed since. Load the run with the class as it was, or train anew."
        )
