"""What a training says while it runs: a bar for each epoch on a terminal, and a line when the epoch ends."""

import contextlib
import time
from collections.abc import Mapping

import tensorflow as tf

from tfrs_twotower import progress

_EVERY = 10  # steps between two readings of the loss, which waits for the device


class EpochBar(tf.keras.callbacks.Callback):
    """Put it after `FullCatalogueEvaluation`, whose metric it prints.

    Args:
      epochs: how many there are at most.
      steps: of an epoch.
      monitor: the metric that decides; it is printed if it is among the logs.
      shown: ends the bar of an epoch that fails, which Keras tells no callback.
    """

    def __init__(self, epochs: int, steps: int, monitor: str, shown: contextlib.ExitStack) -> None:
        super().__init__()
        self._epochs, self._steps, self._monitor, self._open = epochs, steps, monitor, shown

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._open.close()
        self._begun = time.perf_counter()
        self._advance = self._open.enter_context(progress.bar(f"Epoch {epoch + 1} of {self._epochs}", self._steps))

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        if batch % _EVERY == _EVERY - 1:
            self._advance(_EVERY, f"loss {logs['loss']:.4f}" if logs else "")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._open.close()
        logs = logs or {}
        value = logs.get(f"val_{self._monitor}")
        metric = f"  {self._monitor} {value:.4f}" if value is not None else ""
        seconds = time.perf_counter() - self._begun
        print(f"Epoch {epoch + 1} of {self._epochs}  loss {logs['loss']:.4f}{metric}  {seconds:.0f} s", flush=True)
