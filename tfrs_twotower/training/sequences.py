"""Batches of windows of the users' histories, for models that learn from every event of a window."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.data.grouping import grouped
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import Field, SequenceField
from tfrs_twotower.towers.sequence import only_sequence
from tfrs_twotower.training.batches import batch_dataset
from tfrs_twotower.training.config import TrainingConfig
from tfrs_twotower.training.distribution import WorkerShare, part_of
from tfrs_twotower.training.examples import Examples
from tfrs_twotower.training.runs_of_events import Runs

_BUCKETS = 4  # lengths of windows: the field's, and halves of it


class SequenceBatches:
    """Batches of windows in an order that is a function of (seed, epoch, step); it replaces `TrainingBatches`.

    A window is a stretch of consecutive training events of a user. The target after each event is the next event. A
    history up to the field's length is one window. A longer one gives ⌈pairs / length⌉ windows per epoch: the newest
    one, and others from positions drawn anew each epoch, so that over time every event is a target. With
    `Sequence.merge` all this holds of runs: a window has one event of each, drawn anew each epoch.

    A batch holds windows of similar length, padded to the longest of its bucket (the field's length, a half, a
    quarter or an eighth of it), and about `batch_size` targets. So a batch of short histories has many of them.

    A user's first event is the target of a query without a history. These targets are spread evenly over an epoch's
    batches, and need no window.

    Args:
      examples: an `Examples`.
      rows: int64, the training rows of the log; no other row is read.
      config: a `TrainingConfig`; `batch_size` counts targets.
      fields: the query tower's fields, one of them a `SequenceField`.
    """

    share: WorkerShare | None = None  # a worker has no share: the order of the windows is drawn from all histories

    def __init__(self, examples: Examples, rows: np.ndarray, config: TrainingConfig, fields: Iterable[Field]) -> None:
        self._examples, self._config = examples, config
        self._field = only_sequence([f for f in fields if isinstance(f, SequenceField)])
        if len(examples.past_fields) > 1:
            raise ConfigError(
                "A Sequence cannot stand beside another feature of the history: training at every event would need a "
                "history for each event. Leave that one out of `Schema.query`."
            )
        if config.order == "time" or config.resampling is not None:
            raise ConfigError(
                "`training.order` and `training.resampling` are for models with one event per row, and a sequence "
                f"model learns from histories. Received: order={config.order!r}, resampling={config.resampling!r}. "
                "Leave them at their defaults."
            )
        self._past = next(iter(examples.pasts.values()))  # the sequence's, which is the only one
        rows = np.asarray(rows) if self._past.shows is None else np.asarray(rows)[self._past.shows[rows]]
        users = examples.log.user[rows]
        self._order = rows[grouped(users, examples.log.users.num_rows)]
        counts = np.bincount(users)
        pairs, starts = np.maximum(counts - 1, 0), np.cumsum(counts) - counts
        self._runs = self._merged() if self._field.feature.merge else None
        if self._runs is not None:  # then all that follows counts runs, not events
            pairs = np.bincount(self._runs.user, minlength=len(counts))
            starts = np.cumsum(pairs) - pairs
        windows = -(-pairs // self._field.length)
        self._start, self._pairs, self._windows = (np.repeat(a, windows) for a in (starts, pairs, windows))
        self._number = np.arange(windows.sum()) - np.repeat(np.cumsum(windows) - windows, windows)
        self._size = np.minimum(self._pairs, self._field.length)
        lengths = sorted({-(-self._field.length // 2**i) for i in range(_BUCKETS)})
        self._width = np.asarray(lengths)[np.searchsorted(lengths, self._size)]
        self._firsts = rows[self._past.history.before(rows, 1)[0][:, 0] < 0]
        followed, shown = int(self._size.sum()), int(self._size.sum()) + len(self._firsts)
        self.batch_size = min(config.batch_size, shown)
        room = self.batch_size * followed / shown  # of a batch, for targets of windows
        self._buckets = [np.flatnonzero(self._width == width) for width in lengths]
        self._batches = [max(round(len(b) * w / room), 1) if len(b) else 0 for b, w in zip(self._buckets, lengths)]
        self._batches = [min(n, len(b)) for n, b in zip(self._batches, self._buckets)]
        self.steps_per_epoch = sum(self._batches) or -(-shown // self.batch_size)
        self._epoch: tuple = (-1, None, None, None, None)

    def shown_counts(self) -> np.ndarray:
        """float64 [items]: how often an epoch shows each item as a positive, in the mean: with runs, once for each."""
        log = self._examples.log
        if self._runs is None:
            return log.item_counts(self._order).astype(np.float64)
        place, times = self._runs.asked()
        followed = np.bincount(log.item[self._order[place]], times, minlength=log.items.num_rows)
        return followed + log.item_counts(self._firsts)

    def _merged(self) -> Runs:
        log = self._examples.log
        return Runs(self._field, self._examples.item_index(self._field, log.item[self._order]), log.user[self._order])

    def _plan(self, epoch: int) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray], np.ndarray | None]:
        """(the windows of each batch, the start of each window in its user's history, each batch's first events, the
        place of each run's event, or None)."""
        if self._epoch[0] != epoch:
            rng = np.random.default_rng((self._config.seed, epoch))
            batches = [part for bucket, n in zip(self._buckets, self._batches) if n
                       for part in np.array_split(rng.permutation(bucket), n)]
            batches = batches or [np.zeros(0, np.int64)] * self.steps_per_epoch  # no user has a second event
            order = rng.permutation(len(batches))
            slack = self._pairs - self._size
            place = (self._number + rng.random(len(slack))) / np.maximum(self._windows - 1, 1)
            newest = self._number == self._windows - 1
            begin = np.where(newest, slack, (place * (slack + 1)).astype(np.int64).clip(0, slack))
            firsts = np.array_split(rng.permutation(self._firsts), len(batches))
            places = None if self._runs is None else self._runs.drawn(rng)
            self._epoch = (epoch, [batches[i] for i in order], begin, firsts, places)
        return self._epoch[1:]

    def batch(self, step: int, part: int = 0, parts: int = 1) -> dict[str, Any]:
        """The batch of a global step (counted from 0), as nested dicts of arrays, without what `dataset` adds.

        The device number `part` of `parts` gets its windows of the batch.
        """
        epoch, at = divmod(int(step), self.steps_per_epoch)
        batches, begin, firsts, places = self._plan(epoch)
        chosen, width = part_of(batches[at], part, parts), self._width[batches[at]].max(initial=1)
        place = (self._start + begin)[chosen][:, np.newaxis] + np.arange(width)
        real = np.arange(place.shape[1]) < self._size[chosen][:, np.newaxis]
        log, examples = self._examples.log, self._examples
        place = np.where(real, place, 0)
        place = place if places is None else np.where(real, places[place], 0)
        past = self._order[place]
        followed, items = self._order[place[real] + 1], np.where(real, log.item[past], -1)
        last = np.cumsum(self._size[chosen]) - 1
        targets = np.concatenate([followed, part_of(firsts[at], part, parts)])
        return {
            "query": examples.context(targets),
            "past": {
                "index": examples.item_index(self._field, items),
                "times": np.where(real, log.timestamp[past], 0),
                "now": log.timestamp[followed[last]],
                **({} if places is None else {"asked": np.where(real, log.timestamp[self._order[place + real]], 0)}),
                **self._past.codes(self._field, np.where(real, past, -1)),
            },
            "past_id": items,
            "candidate_id": log.item[targets],
            "weight": examples.weight[targets],
            "labels": examples.labels(targets),
        }

    def dataset(self, start: int, stop: int, context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        """`tf.data.Dataset` of the batches of steps start … stop − 1, sequences and candidates encoded, prefetched.

        With a `tf.distribute.InputContext`: only the parts that this process trains on.
        """
        def finish(batch: dict[str, Any]) -> dict[str, Any]:
            past = batch.pop("past")
            codes = self._field.with_parts({part: past[part] for part in self._field.parts})
            sequence = self._field.encode_window(past["index"], past["times"], past["now"], *codes)
            if "asked" in past:
                sequence["asked"] = tf.cast(tf.maximum(past["now"][:, tf.newaxis] - past["asked"], 0), tf.int32)
            query = {**batch["query"], self._field.name: sequence}
            return {**batch, "query": query, "candidate": self._examples.candidates(batch["candidate_id"])}

        return batch_dataset(self.batch, start, stop, context, finish)
