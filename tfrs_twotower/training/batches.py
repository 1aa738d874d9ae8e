"""The batches of a training: which log rows each has, and the `tf.data.Dataset` of them."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.data import Batches, InteractionLog, Ragged, Stretches, blocks, wide
from tfrs_twotower.data.grouping import grouped
from tfrs_twotower.data.ragged import ranges
from tfrs_twotower.data.statistics import HOUR
from tfrs_twotower.features import fingerprints
from tfrs_twotower.training.config import TrainingConfig
from tfrs_twotower.training.distribution import WorkerShare, part_of, steps
from tfrs_twotower.training.examples import Examples
from tfrs_twotower.training.explicit import ExplicitNegatives
from tfrs_twotower.training.positives import Resampler

_USERS = 2**16  # users whose items are gathered at a time


class TrainingBatches:
    """Batches of training rows in an order that is a function of (seed, epoch, step).

    Args:
      examples: an `Examples`.
      rows: int64, the log rows that are positives, ascending.
      config: a `TrainingConfig`.
      explicit: an `ExplicitNegatives` or None: item rows that are negatives of an event.
      known: int64, the log rows whose items are no negatives of their users: by default `rows`; in an update also
        those of the earlier training.
      share: the `WorkerShare` of this process in the batches: `rows` are then its own positives; None: all are.
    """

    def __init__(
        self, examples: Examples, rows: np.ndarray | Sequence[int], config: TrainingConfig,
        explicit: ExplicitNegatives | None = None, known: np.ndarray | None = None, share: WorkerShare | None = None,
    ) -> None:
        log = examples.log
        self._examples, self._rows, self._config = examples, np.asarray(rows), config
        self._explicit, self.share = explicit, share
        self._resampler = config.resampling and Resampler(config.resampling.times(log.item[self._rows]), config.seed)
        shown = self._resampler.size if self._resampler else share.positives if share else len(self._rows)
        self.batch_size = min(config.batch_size, shown)
        self.steps_per_epoch = shown // self.batch_size
        known = self._rows if known is None else known
        if len(known) > len(self._rows):  # in an update of few users, sorting all events would take most of its time
            asked = np.zeros(log.users.num_rows, bool)
            asked[log.user[self._rows]] = True
            known = known[asked[log.user[known]]]
        self._positives = _latest_positives(log, known, config.known_positives)
        self._known = max(int(self._positives.lengths.max(initial=0)), 1)
        self._codes, self._event = _event_codes(log)
        self._order: tuple[int, Any] = (-1, None)

    def _epoch(self, epoch: int) -> tuple[np.ndarray, Batches | Stretches]:
        """(log rows, or places among all positives if this process has a share; the places in them of each batch)."""
        if self._order[0] != epoch:
            rows = self._rows if self.share is None else np.arange(self.share.positives)
            rows = rows[self._resampler.draw(epoch)] if self._resampler else rows
            in_order = self._config.order == "time"
            if in_order:  # the oldest rows that fill no batch are left out
                rows = rows[len(rows) - self.steps_per_epoch * self.batch_size:]
            settings = self._config
            order: Batches | Stretches
            if self._examples.statistics is not None:  # a batch has one hour, so it is a stretch of time
                rows, order = np.sort(rows), Stretches(len(rows), self.batch_size, settings.seed, epoch, in_order)
            else:
                order = Batches(len(rows), self.batch_size, settings.seed, epoch, settings.shuffle_buffer, in_order)
            self._order = epoch, (rows, order)
        return self._order[1]

    def rows(self, step: int) -> np.ndarray:
        """int64: the log rows of the batch of a global step, counted from 0; only those of this process's share."""
        return self._placed(step)[0]

    def _placed(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(`rows`, int32: the place of each in the batch of all processes)."""
        epoch, at = divmod(int(step), self.steps_per_epoch)
        rows, order = self._epoch(epoch)
        rows = rows[order[at]]
        places = np.arange(len(rows), dtype=np.int32)
        if self.share is None:
            return rows, places
        found, own = self.share.own(rows)
        return self._rows[own], places[found]

    def batch(self, step: int, part: int = 0, parts: int = 1) -> dict[str, Any]:
        """The batch of a global step (counted from 0), as nested dicts of arrays, without what `dataset` adds.

        The device number `part` of `parts` gets its rows of the batch.
        """
        log, examples, (rows, places) = self._examples.log, self._examples, self._placed(step)
        hour = None if examples.statistics is None else log.timestamp[rows].min() // HOUR
        if self.share is not None:  # these rows are this process's alone, so only its own devices divide them
            places = places if parts > 1 else np.arange(len(rows), dtype=np.int32)  # no others are asked for
            parts = max(parts // self.share.workers, 1)
            part %= parts
        rows, places = (part_of(values, part, parts) for values in (rows, places))
        return {
            "query": examples.gather(rows),
            "candidate_id": log.item[rows],
            "known_positives": self._positives.padded(log.user[rows], self._known),
            "explicit_negatives": (
                np.zeros([len(rows), 0], np.int32) if self._explicit is None else self._explicit.of(rows, step)
            ),
            "event": self._codes[self._event[rows]],
            "weight": examples.weight[rows],
            "labels": examples.labels(rows),
            **({} if self.share is None else {"place": places}),
            **({} if hour is None else {"hour": np.full(len(rows), hour)}),
        }

    def whole_batch(self, step: int) -> dict[str, Any]:
        """The batch of a step as `dataset` has it, made at once: for a few steps, as a dataset takes a second to begin.
        """
        return self._finish(tf.nest.map_structure(tf.convert_to_tensor, self.batch(step)))

    def _finish(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch's tensors, with histories and candidates encoded: graph code."""
        hour = batch["hour"][0] if "hour" in batch else None
        candidate = self._examples.candidates(batch["candidate_id"], hour)
        return {**batch, "query": self._examples.finish(batch["query"]), "candidate": candidate}

    def dataset(self, start: int, stop: int, context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        """`tf.data.Dataset` of the batches of steps start … stop − 1, histories and candidates encoded, prefetched.

        With a `tf.distribute.InputContext`: only the parts that this process trains on.
        """
        rows = None if context or self.share is not None else self.batch_size
        return batch_dataset(self.batch, start, stop, context, self._finish, rows)


def batch_dataset(
    batch: Callable[..., dict[str, Any]], start: int, stop: int, context: tf.distribute.InputContext | None,
    finish: Callable[[dict[str, Any]], dict[str, Any]], rows: int | None = None,
) -> tf.data.Dataset:
    """`tf.data.Dataset` of the batches of steps start … stop − 1, prefetched.

    Args:
      batch: (step, part, parts) → nested dicts of arrays; numpy code. A bound method: TensorFlow gets a weak
        reference to it.
      start, stop, context: as in `TrainingBatches.dataset`.
      finish: turns such a batch, as tensors, into the model's input; graph code.
      rows: first size of every array, if it is the same in every batch.
    """
    example = batch(start)
    flat = tf.nest.flatten(example)
    dtypes = [tf.as_dtype(a.dtype) for a in flat]
    # TensorFlow never forgets a function that it was given. The object of `batch` has the tables of a model.
    found: Callable[[], Any] = weakref.WeakMethod(batch)

    @tf.autograph.experimental.do_not_convert  # as in `TwoTowerModel.train_step`
    def read(*place: tf.Tensor) -> dict[str, Any]:
        values = tf.numpy_function(lambda *p: tf.nest.flatten(found()(*p)), place, dtypes, stateful=False)
        for value, array in zip(values, flat):
            value.set_shape([rows] + [None] * (array.ndim - 1))
        return tf.nest.pack_sequence_as(example, values)

    # Two stages, so that one batch is read by NumPy while another is finished by TensorFlow.
    finish = tf.autograph.experimental.do_not_convert(finish)
    dataset = steps(start, stop, context).map(read).prefetch(2).map(finish).prefetch(2)
    dataset.batch_of = batch  # its iterators hold the dataset
    return dataset


def _event_codes(log: InteractionLog) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [kinds], the fingerprint of each kind of event; [log rows], each event's kind): "" without kinds."""
    if c.EVENT not in log.context.column_names:
        return fingerprints(tf.constant([""])).numpy(), np.broadcast_to(np.int8(0), len(log))
    kinds = wide.one(log.context[c.EVENT]).dictionary_encode()
    names = tf.constant([*kinds.dictionary.to_pylist(), ""], tf.string)
    return fingerprints(names).numpy(), kinds.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)


def _latest_positives(log: InteractionLog, rows: np.ndarray, width: int) -> Ragged:
    """Each user's latest training items, the newest first, `width` at most; one row per user."""
    user = blocks.take(log.user, rows)  # of a large log, memory counts
    order, counts = grouped(user, log.users.num_rows), blocks.counts(user, log.users.num_rows)
    ends, kept = np.cumsum(counts), np.minimum(counts, width)
    items, filled = np.empty(kept.sum(), np.int32), 0
    for first in range(0, len(kept), _USERS):
        newest = len(order) - ends[first: first + _USERS]  # of each user, in `order` from its end
        at = len(order) - 1 - ranges(newest, newest + kept[first: first + _USERS])
        items[filled: filled + len(at)] = log.item[rows[order[at]]]
        filled += len(at)
    return Ragged.from_lengths(items, kept)
