"""Source → checked, coded, time-ordered interaction log. Streamed: the raw log is never in memory."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.columns import EVENT, ITEM_ID, LABEL, SESSION, TIMESTAMP, USER_ID, WEIGHT
from tfrs_twotower.data import values, wide
from tfrs_twotower.data.entities import Entities
from tfrs_twotower.data.log import InteractionLog, Shown
from tfrs_twotower.data.notes import suspicious_notes, unread_notes
from tfrs_twotower.data.rejects import Checks, Rejects
from tfrs_twotower.data.source import (
    FILE,
    INVALID,
    PARSE_AS,
    PART,
    ROW,
    SCALE,
    UNREAD,
    Source,
    check_columns,
    notes_of,
)
from tfrs_twotower.data.times import Times
from tfrs_twotower.errors import DataError, NoEvents, invalid

YEAR_2100 = 4_102_444_800
_NO_TIMES = ("The log has no times: its events are in random order. Random items of each user are held out, a history "
             "shows the user's other items, and settings that read times or order are refused")
_LOOKED_AT = 1000  # ids
_FIXED = (USER_ID, ITEM_ID, TIMESTAMP, WEIGHT, ROW, INVALID)
_TEXT = (EVENT, SESSION)


@dataclasses.dataclass(frozen=True)
class IngestReport:
    """The counts and notes of an `ingest`.

    Attributes:
      rows: rows read from the log; accepted: rows kept, also events that were shown and not liked
      rejected: {reason: rows} of the log and of the entity tables
      rejected_path: the file of the rejected rows, or None
      users, items: rows of the entity tables, including ids that only the log has
      notes: remarks about the data; they reject nothing
    """

    rows: int
    accepted: int
    rejected: dict[str, int]
    rejected_path: str | None
    users: int
    items: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.accepted:,} of {self.rows:,} rows kept, {self.users:,} users, {self.items:,} items"]
        lines += [f"rejected {n:,}: {reason}" for reason, n in self.rejected.items()]
        if self.rejected_path:
            lines.append(f"rejected rows: {self.rejected_path}")
        return "\n".join([*lines, *self.notes])


def ingest(
    source: Source, limit: float = 0.01, rejected_to: str | os.PathLike[str] | None = None, require_items: bool = False,
    min_time: float = 0, max_time: float = YEAR_2100,
) -> tuple[InteractionLog, IngestReport]:
    """Reads a source into an `InteractionLog`.

    Bad rows (missing ids, values that are no numbers or not finite, times outside of [min_time, max_time),
    lines that cannot be parsed) are left out, counted and written to `rejected_to`. In the tables of
    users and items a missing id is a bad row, and of a repeated id the first row is kept.

    Args:
      source: a Source
      limit: the fraction of bad rows, of the log and of each table, above which ingestion stops
      rejected_to: path of a Parquet file for the bad rows: reason, file, row, value
      require_items: an event whose item is not in the item table is a bad row
      min_time, max_time: seconds since 1970

    Returns:
      (InteractionLog, IngestReport)

    Raises:
      DataError: a column is absent or has an unusable type, or too many rows are bad.
      NoEvents: no row is left, or no event is a like.
    """
    if not 0 <= limit <= 1:
        raise DataError(invalid("limit", "be a fraction from 0 to 1", limit, "1% is limit=0.01."))
    rejects = Rejects(rejected_to)
    try:
        return _ingest(source, limit, rejects, require_items, (min_time, max_time))
    finally:
        rejects.close()


def _ingest(
    source: Source, limit: float, rejects: Rejects, require_items: bool, times: tuple[float, float]
) -> tuple[InteractionLog, IngestReport]:
    batches = iter(source.interactions())
    first = next(batches, None)
    if first is None:
        raise NoEvents(f"{source.name}: there are no interactions.")
    check_columns({name: name for name in (USER_ID, ITEM_ID)}, first.schema.names, source.name)
    notes = []
    users, items = (
        Entities(id_name, first.column(id_name).type, table, source.table_name(what), rejects, limit, notes)
        for id_name, what, table in ((USER_ID, "users", source.users()), (ITEM_ID, "items", source.items()))
    )
    if require_items and not items.known:
        raise DataError(f"{source.name}: `require_items` needs an item table, and the source has none.")
    reader = _Reader(users, items, rejects, require_items, times, notes)
    before = sum(rejects.counts.values())
    of_tables = dict(rejects.counts)
    for batch in itertools.chain([first], batches):
        notes += [note for note in notes_of(batch.schema) if note not in notes]
        reader.read(batch, source.name)
    counts = {reason: n - of_tables.get(reason, 0) for reason, n in rejects.counts.items()}
    rejects.check(source.name, max(reader.rows, 1), limit, {r: n for r, n in counts.items() if n}, reader.hint)
    log = reader.log(source.name)
    path = str(rejects.path) if rejects.path and rejects.counts else None
    notes += [] if log.timed else [_NO_TIMES]
    notes += [*unread_notes(reader.unread, reader.labelled), *suspicious_notes(log)]
    notes += [*users.lacking(log.user), *items.lacking(log.item)]
    notes += [*_floats(USER_ID, log.users[USER_ID]), *_floats(ITEM_ID, log.items[ITEM_ID])]
    notes += [f"{source.name}: {before} rows of the tables were left out"] if before else []
    return log, IngestReport(
        reader.rows, len(log) + len(log.shown), dict(rejects.counts), path, len(log.users), len(log.items), tuple(notes)
    )


def _floats(name: str, ids: pa.ChunkedArray) -> Iterator[str]:
    """A note if text ids look like whole numbers in a pandas column with a missing value, such as "7.0"."""
    first = ids.slice(0, _LOOKED_AT)
    if values.is_text(ids.type) and pc.all(pc.match_substring_regex(first, r"^\d+\.0$")).as_py():
        yield (f"{name}: these look like whole numbers written as floats, such as {first[0].as_py()!r}; they are kept "
               "as they are, so requests and tables must have the same text. Better store whole numbers")


class _Reader:
    """Checks batch after batch and keeps codes, times, weights and context."""

    def __init__(
        self, users: Entities, items: Entities, rejects: Rejects, require_items: bool, times: tuple[float, float],
        notes: list[str],
    ) -> None:
        self.users, self.items, self.notes = users, items, notes
        self.rejects, self.require_items, self.times = rejects, require_items, Times(times, notes)
        self.rows = 0
        self.next_row = {}
        self.user, self.item, self.timestamp, self.weight, self.context, self.part = [], [], [], [], [], []
        self.label, self.unread, self.labelled = [], {}, False

    def read(self, batch: pa.RecordBatch, name: str) -> None:
        file = (batch.schema.metadata or {}).get(FILE, name.encode()).decode()
        checks = Checks(len(batch))
        if INVALID in batch.schema.names:
            text = batch.column(INVALID)
            checks.fail(values.numpy(text.is_valid()), "line: cannot be parsed", text)
        user = self._ids(checks, batch, USER_ID, file)
        item = self._ids(checks, batch, ITEM_ID, file)
        if self.require_items:
            unknown = self.items.find(item, file) < 0
            checks.fail(unknown, f"{ITEM_ID}: not in the item table", batch.column(ITEM_ID))
        timestamp = self.times.read(checks, batch, file)
        weight = self._weights(checks, batch, file)
        label = self._labels(checks, batch, file)
        self.labelled |= label is not None
        context = self._context(checks, batch, file, label)
        self.unread.update(dict.fromkeys(json.loads((batch.schema.metadata or {}).get(UNREAD, b"[]"))))
        self.rejects.add(checks, file, self._row_numbers(batch, file))
        self.rows += len(batch)
        ok, keep = checks.ok, pa.array(checks.ok)
        self.part.append(np.full(ok.sum(), int((batch.schema.metadata or {}).get(PART, 0)), np.uint16))
        self.user.append(self.users.code(user.filter(keep), file))
        self.item.append(self.items.code(item.filter(keep), file))
        self.timestamp.append(timestamp[ok])
        self.weight.append(weight[ok])
        self.label.append(np.ones(ok.sum()) if label is None else label[ok])
        if context is not None:
            self.context.append(context.filter(keep))

    @property
    def hint(self) -> str:
        """Hints about bad rows and the options that leave them out: sentences with a space after them, or ""."""
        out = " leaves them out. "
        ways = [(f"{WEIGHT}: not", f"`--where \"COLUMN > 0\"` of the weight's column{out}"),
                (f"{LABEL}: missing", f"`--where \"COLUMN != none\"` of the label's column{out}")]
        met = [way for reason, way in ways if any(r.startswith(reason) for r in self.rejects.counts)]
        return self.times.hint(self.rows) + "".join(met)

    def _row_numbers(self, batch: pa.RecordBatch, file: str) -> np.ndarray:
        if ROW in batch.schema.names:
            return batch.column(ROW).to_numpy()
        start = self.next_row.get(file, 0)
        self.next_row[file] = start + len(batch)
        return np.arange(start, start + len(batch))

    def _ids(self, checks: Checks, batch: pa.RecordBatch, name: str, file: str) -> pa.Array:
        ids, malformed = values.ids(batch.column(name), f"{file}: column `{name}`")
        checks.fail(malformed, f"{name}: not a whole number, or a float above 2^53", batch.column(name))
        checks.fail(values.numpy(ids.is_null()), f"{name}: missing", batch.column(name))
        return ids

    def _weights(self, checks: Checks, batch: pa.RecordBatch, file: str) -> np.ndarray:
        if WEIGHT not in batch.schema.names:
            return np.ones(len(batch), np.float32)
        raw = batch.column(WEIGHT)
        weight = values.numbers(raw, f"{file}: column `{WEIGHT}`").astype(np.float32)
        ok = np.isfinite(weight) & (weight >= 0)
        checks.fail(~ok, f"{WEIGHT}: not a finite number of at least 0", raw)
        scale = (batch.schema.field(WEIGHT).metadata or {}).get(SCALE)
        return np.log1p(np.where(ok, weight, 0)) if scale == b"log" else weight

    def _labels(self, checks: Checks, batch: pa.RecordBatch, file: str) -> np.ndarray | None:
        """float64 [n]; None where there are none."""
        if LABEL not in batch.schema.names:
            return None
        raw = batch.column(LABEL)
        label = values.labels(raw, f"{file}: column `{LABEL}`")
        checks.fail(values.missing(raw), f"{LABEL}: missing", raw)
        checks.fail(~np.isfinite(label), f"{LABEL}: not a finite number, true or false", raw)
        return label

    def _context(
        self, checks: Checks, batch: pa.RecordBatch, file: str, label: np.ndarray | None
    ) -> pa.Table | None:
        """The other columns as a table of plain types; an infinite or unparsable value fails its row."""
        names = [name for name in batch.schema.names if name not in _FIXED]
        arrays = []
        for name in names:
            raw, where = batch.column(name), f"{file}: column `{name}`"
            parse_as = (batch.schema.field(name).metadata or {}).get(PARSE_AS)
            if parse_as:
                array, bad = values.parse_text(raw, parse_as.decode(), where)
                checks.fail(bad, f"{name}: not a finite number or a time", raw)
            elif name == LABEL and (pa.types.is_string(raw.type) or pa.types.is_boolean(raw.type)):
                array = pa.array(label, from_pandas=True)
            else:
                array = values.plain(raw, where)
                if name in _TEXT and not values.is_text(array.type):
                    array = array.cast(pa.string())
            checks.fail(values.infinite(array), f"{name}: not finite", raw)
            arrays.append(array)
        return pa.table(arrays, names=names) if names else None

    def log(self, name: str) -> InteractionLog:
        """The events so far, in time order; without times, in random order."""
        timestamp = np.concatenate(self.timestamp)
        if len(timestamp) == 0:
            raise NoEvents(f"{name}: no interactions are left of {self.rows} rows read.")
        self.timestamp.clear()
        if self.times.there:
            order = np.argsort(timestamp, kind="stable")
        else:
            order = np.random.default_rng(0).permutation(len(timestamp))
        liked = self._liked(name)[order]
        order, shown = order[liked], order[~liked]
        user, item = np.concatenate(self.user), np.concatenate(self.item)
        return InteractionLog(
            user=user[order],
            item=item[order],
            timestamp=timestamp[order],
            weight=_sorted(self.weight, order),
            context=self._context_table(name, order),
            users=self.users.table(),
            items=self.items.table(),
            part=_sorted(self.part, order),
            shown=Shown(user[shown], item[shown], timestamp[shown]),
        )

    def _liked(self, name: str) -> np.ndarray:
        """bool [rows kept]: which events are likes. It also adds the notes about the labels."""
        label = np.concatenate(self.label)
        liked = label > 0
        if not liked.any():
            raise NoEvents(f"{name}: none of the {len(liked):,} labels is above 0, so no event is a like. Name "
                           "another column as the label, or none. With `--positive`: no event fulfils it.")
        if not liked.all():
            self.notes.append(
                f"{(~liked).sum():,} events are shown and not liked: their label is 0 or less, or they do not fulfil "
                "`--positive`. They are negatives of their users, and not events"
            )
        elif label.min() < label.max():
            self.notes.append(f"{LABEL}: all are above 0, from {label.min():g} to {label.max():g}, so every event is a "
                              "like. To tell likes from the rest: `--positive \"COLUMN >= NUMBER\"`")
        return liked

    def _context_table(self, name: str, order: np.ndarray) -> pa.Table:
        if not self.context:
            return pa.table({})
        try:
            context = pa.concat_tables(self.context, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(f"{name}: a context column changes its type between files: {error}") from error
        self.context = []
        return pa.table({name: wide.take(context[name], order) for name in context.column_names})


def _sorted(chunks: list[np.ndarray], order: np.ndarray) -> np.ndarray:
    """The chunks as one array in the given order. It frees them on the way, to keep the peak of memory low."""
    whole = np.concatenate(chunks)
    chunks.clear()
    return whole[order]
