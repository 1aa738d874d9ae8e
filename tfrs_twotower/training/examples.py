"""From log rows to the batches that the towers take: entity tables encoded once, then gathered."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.data import Batches, InteractionLog, Ragged, Stretches, wide
from tfrs_twotower.data.grouping import grouped
from tfrs_twotower.data.ragged import ranges
from tfrs_twotower.data.statistics import HOUR
from tfrs_twotower.errors import ConfigError, nearest
from tfrs_twotower.features import (
    Field,
    IdField,
    PastField,
    SearchesField,
    StatisticField,
    fingerprints,
    key_tensor,
    to_tensor,
)
from tfrs_twotower.features.fields.preprocessed import PreprocessedField
from tfrs_twotower.ids import missing_id
from tfrs_twotower.models import ItemFeatures
from tfrs_twotower.training.config import TrainingConfig
from tfrs_twotower.training.distribution import WorkerShare, part_of, steps
from tfrs_twotower.training.explicit import ExplicitNegatives
from tfrs_twotower.training.item_statistics import ItemStatistics
from tfrs_twotower.training.pasts import ROWS, Past, SearchPast
from tfrs_twotower.training.positives import Resampler

_HISTORY_INPUTS = (c.HISTORY_ITEM_ID, c.HISTORY_TIMESTAMP)
_PAST = "past"  # the key of the raw histories in a gathered batch, by their names
_ENCODE_ROWS = 65_536  # rows encoded at a time, so that a large table is never in memory as strings


def encode_table(
    encode: Callable[[dict[str, tf.Tensor]], Mapping[str, tf.Tensor]], table: pa.Table,
    specs: Mapping[str, tf.TensorSpec],
) -> dict[str, np.ndarray]:
    """The rows of an Arrow table by one field's `encode`: a dict of arrays [rows, ...]."""
    parts = []
    for start in range(0, max(table.num_rows, 1), _ENCODE_ROWS):
        piece = table.slice(start, _ENCODE_ROWS)
        parts.append(encode({name: to_tensor(piece[name], spec, name) for name, spec in specs.items()}))
    return {key: _join([np.asarray(part[key]) for part in parts]) for key in parts[0]}


def _join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenates arrays whose second axis (a padded list) may differ in width; it pads with the padding value."""
    if arrays[0].ndim < 2:
        return np.concatenate(arrays)
    width = max(a.shape[1] for a in arrays)
    kind = arrays[0].dtype
    padding = b"" if kind == object else -1 if np.issubdtype(kind, np.integer) else 0
    return np.concatenate([
        np.pad(a, [(0, 0), (0, width - a.shape[1])] + [(0, 0)] * (a.ndim - 2), constant_values=padding)
        for a in arrays
    ])


def event_table(
    log: InteractionLog, names: Iterable[str], rows: np.ndarray | Sequence[int] | None = None
) -> pa.Table:
    """The query columns of log rows (all of them by default): an Arrow table."""
    rows = np.arange(len(log.user)) if rows is None else np.asarray(rows)

    def column(name: str) -> pa.Array | pa.ChunkedArray:
        if name == c.TIMESTAMP:
            return pa.array(log.timestamp[rows])
        if name in log.users.column_names:
            return wide.take(log.users[name], log.user[rows])
        return wide.take(log.context[name], rows)

    return pa.table({name: column(name) for name in names})


class Examples:
    """The log as encoded numbers, for training steps and evaluations.

    Args:
      log: an `InteractionLog`.
      query_fields, candidate_fields: adapted fields.
      visible: bool [log rows] or None: the events that a history may show.
      weight: float32 [log rows] or None: each event's weight as a positive; None is the log's own weight.
      labels: context columns of numbers that batches have.
      kinds: of the events of a history whose feature names none; () for all.
      statistics: the `ItemStatistics` of the candidates, or None if no field reads any.

    Attributes:
      history: the `UserHistories` of these kinds.
      pasts: {name of a history: its `Past`}, of the histories that the fields read; the name is that of `columns.past`.
      past_fields: the fields that read one.
    """

    def __init__(
        self, log: InteractionLog, query_fields: Sequence[Field], candidate_fields: Sequence[Field],
        visible: np.ndarray | None = None, weight: np.ndarray | None = None, labels: Iterable[str] = (),
        kinds: Sequence[str] = (), statistics: ItemStatistics | None = None,
    ) -> None:
        self.log = log
        self.weight = log.weight if weight is None else weight
        self._candidates = {
            f.name: encode_table(f.encode, log.items, f.inputs())
            for f in candidate_fields if not isinstance(f, StatisticField)
        }
        self.statistics = statistics
        self.items = ItemFeatures(self._candidates, statistics)
        self.past_fields: list[PastField | PreprocessedField] = [
            f for f in query_fields if isinstance(f, PastField) or c.HISTORY_ITEM_ID in f.columns
        ]
        self.pasts = _pasts(log, self.past_fields, kinds, visible)
        self.history = (self.pasts.get(c.PAST) or Past(log, [], kinds, visible)).history
        self.history_length = max([past.length for past in self.pasts.values()], default=0)
        self._searches = {
            f.name: SearchPast(log, f, visible) for f in query_fields if isinstance(f, SearchesField)
        }
        self._by_user, self._by_event = {}, {}
        for f in query_fields:
            if isinstance(f, (PastField, SearchesField)):
                continue
            specs = {name: spec for name, spec in f.inputs().items() if name not in _HISTORY_INPUTS}
            encode = f.beside_past if f in self.past_fields else f.encode
            if all(name in log.users.column_names for name in specs):
                self._by_user[f.name] = encode_table(encode, log.users, specs)
            else:
                self._by_event[f.name] = encode_table(encode, event_table(log, specs), specs)
        self._specs = {name: spec for f in query_fields for name, spec in f.inputs().items()}
        if self.past_fields:
            self._item_ids = key_tensor(log.items[c.ITEM_ID], c.ITEM_ID)
        number = tf.TensorSpec([None], tf.float32)
        self._labels = {name: to_tensor(_context(log, name), number, name).numpy() for name in labels}

    def context(self, rows: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        """Encoded query features at log rows, without those of the history: numpy only."""
        users = self.log.user[rows]
        encoded = {name: {k: a[users] for k, a in table.items()} for name, table in self._by_user.items()}
        encoded |= {name: {k: a[rows] for k, a in table.items()} for name, table in self._by_event.items()}
        return encoded | {name: past.encoded(rows) for name, past in self._searches.items()}

    def labels(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """{column: float32 [rows]}: the labels of log rows."""
        return {name: values[rows] for name, values in self._labels.items()}

    def item_rows(self, field: IdField) -> np.ndarray:
        """int32 [items]: the row of each item in the table of `field`, an `IdField` of the candidates."""
        return np.asarray(self._candidates[field.name]["index"])

    def item_index(self, field: PastField, items: np.ndarray) -> np.ndarray:
        """The encoding of item rows (−1 pads) for a history field: int32, rows of its table."""
        index = self._candidates[field.items.name]["index"]
        return np.where(items >= 0, index[items], -1).astype(np.int32)

    def gather(self, rows: np.ndarray) -> dict[str, dict[str, Any]]:
        """Query features at log rows, encoded except for the histories (see `finish`): numpy only."""
        encoded = self.context(rows)
        if not self.past_fields:
            return encoded
        pasts = {name: past.gather(rows, self.item_index) for name, past in self.pasts.items()}
        return {**encoded, _PAST: pasts}

    def finish(self, gathered: Mapping[str, Any]) -> dict[str, Any]:
        """Encodes the histories of gathered query features: graph code."""
        encoded = {name: value for name, value in gathered.items() if name != _PAST}
        for name, past in self.pasts.items():
            found = gathered[_PAST][name]
            for f in past.fields:
                if isinstance(f, PastField):
                    encoded[f.name] = past.encode(f, found)
                else:
                    raw = {c.HISTORY_ITEM_ID: self._ids(found[ROWS]), c.HISTORY_TIMESTAMP: found["times"]}
                    encoded[f.name] = f.encode({**encoded[f.name], **raw})
        return encoded

    def _ids(self, rows: np.ndarray | tf.Tensor) -> tf.Tensor:
        """The ids of item rows, of any shape; the missing id of −1."""
        known = tf.gather(self._item_ids, tf.maximum(rows, 0))
        return tf.where(rows >= 0, known, tf.constant(missing_id(known.dtype), known.dtype))

    def queries(self, rows: np.ndarray | Sequence[int]) -> dict[str, Any]:
        """Encoded query features at log rows; the history ends just before each row."""
        return self.finish(self.gather(np.asarray(rows)))

    def candidates(
        self, rows: np.ndarray | tf.Tensor, hour: int | tf.Tensor | None = None
    ) -> dict[str, dict[str, tf.Tensor]]:
        """Encoded candidate features of item rows, with the statistics as of an hour: see `ItemFeatures.rows`."""
        return self.items.rows(rows, hour)

    def raw_queries(
        self, rows: np.ndarray | Sequence[int], past_length: int | None = None
    ) -> dict[str, tf.Tensor]:
        """Query features at log rows in the form of a served request: {input name: tensor [rows, ...]}.

        past_length: the number of events of the history without kinds of its own; None: as many as the towers read.
        """
        rows = np.asarray(rows)
        raw = {c.SEARCHES: past.raw(rows) for past in self._searches.values()}
        for name, past in self.pasts.items():
            length = past_length if past_length and name == c.PAST else past.length
            found = past.raw(rows, length)
            found[c.ITEM_ID] = self._ids(found[c.ITEM_ID])
            raw.update({f"{name}_{part}": value for part, value in found.items() if f"{name}_{part}" in self._specs})
        table = event_table(self.log, [name for name in self._specs if name not in raw], rows)
        return {**{name: to_tensor(table[name], self._specs[name]) for name in table.column_names}, **raw}


def _pasts(
    log: InteractionLog, fields: Sequence[PastField | PreprocessedField], kinds: Sequence[str],
    visible: np.ndarray | None,
) -> dict[str, Past]:
    """{name of a history: its `Past`}; kinds: of the one whose features name none."""
    by_kinds: dict[tuple[str, ...], list[PastField | PreprocessedField]] = {}
    for f in fields:
        by_kinds.setdefault(f.feature.kinds if isinstance(f, PastField) else (), []).append(f)
    return {c.past(kinds=own): Past(log, found, own or kinds, visible) for own, found in by_kinds.items()}


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

    def dataset(self, start: int, stop: int, context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        """`tf.data.Dataset` of the batches of steps start … stop − 1, histories and candidates encoded, prefetched.

        With a `tf.distribute.InputContext`: only the parts that this process trains on.
        """
        def finish(batch: dict[str, Any]) -> dict[str, Any]:
            hour = batch["hour"][0] if "hour" in batch else None
            candidate = self._examples.candidates(batch["candidate_id"], hour)
            return {**batch, "query": self._examples.finish(batch["query"]), "candidate": candidate}

        rows = None if context or self.share is not None else self.batch_size
        return batch_dataset(self.batch, start, stop, context, finish, rows)


def batch_dataset(
    batch: Callable[..., dict[str, Any]], start: int, stop: int, context: tf.distribute.InputContext | None,
    finish: Callable[[dict[str, Any]], dict[str, Any]], rows: int | None = None,
) -> tf.data.Dataset:
    """`tf.data.Dataset` of the batches of steps start … stop − 1, prefetched.

    Args:
      batch: (step, part, parts) → nested dicts of arrays; numpy code.
      start, stop, context: as in `TrainingBatches.dataset`.
      finish: turns such a batch, as tensors, into the model's input; graph code.
      rows: first size of every array, if it is the same in every batch.
    """
    example = batch(start)
    flat = tf.nest.flatten(example)
    dtypes = [tf.as_dtype(a.dtype) for a in flat]

    @tf.autograph.experimental.do_not_convert  # as in `TwoTowerModel.train_step`
    def read(*place: tf.Tensor) -> dict[str, Any]:
        values = tf.numpy_function(lambda *p: tf.nest.flatten(batch(*p)), place, dtypes, stateful=False)
        for value, array in zip(values, flat):
            value.set_shape([rows] + [None] * (array.ndim - 1))
        return tf.nest.pack_sequence_as(example, values)

    # Two stages, so that one batch is read by NumPy while another is finished by TensorFlow.
    finish = tf.autograph.experimental.do_not_convert(finish)
    return steps(start, stop, context).map(read).prefetch(2).map(finish).prefetch(2)


def _context(log: InteractionLog, name: str) -> pa.ChunkedArray:
    """A context column of the log. Raises `ConfigError` if there is no such column."""
    if name not in log.context.column_names:
        raise ConfigError(f"A loss reads the label `{name}`, which is no context column." + nearest(
            name, log.context.column_names) + " Name it in Columns(context=...).")
    return log.context[name]


def _event_codes(log: InteractionLog) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [kinds], the fingerprint of each kind of event; [log rows], each event's kind): "" without kinds."""
    if c.EVENT not in log.context.column_names:
        return fingerprints(tf.constant([""])).numpy(), np.broadcast_to(np.int8(0), len(log))
    kinds = wide.one(log.context[c.EVENT]).dictionary_encode()
    names = tf.constant([*kinds.dictionary.to_pylist(), ""], tf.string)
    return fingerprints(names).numpy(), kinds.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)


def _latest_positives(log: InteractionLog, rows: np.ndarray, width: int) -> Ragged:
    """Each user's latest training items, the newest first, `width` at most; one row per user."""
    # By user from the last; of a user, the newest first.
    order = rows[grouped(log.user[rows], log.users.num_rows)[::-1]]
    counts = np.bincount(log.user[rows], minlength=log.users.num_rows)
    kept = np.minimum(counts, width)
    begin = len(rows) - np.cumsum(counts)  # of each user, in `order`
    return Ragged.from_lengths(log.item[order[ranges(begin, begin + kept)]], kept)
