"""The rules for the rows of a log, batch after batch. `ingest` and `prepare` both read through them."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.columns import EVENT, ITEM_ID, LABEL, QUERY, SESSION, TIMESTAMP, USER_ID, WEIGHT
from tfrs_twotower.data import values
from tfrs_twotower.data.entities import Entities
from tfrs_twotower.data.log import InteractionLog
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
from tfrs_twotower.progress import bar

YEAR_2100 = 4_102_444_800
_NO_TIMES = ("The log has no times: its events are in random order. Random items of each user are held out, a history "
             "shows the user's other items, and settings that read times or order are refused")
_LOOKED_AT = 1000  # ids
_FIXED = (USER_ID, ITEM_ID, TIMESTAMP, WEIGHT, ROW, INVALID)
_TEXT = (EVENT, SESSION)


@dataclasses.dataclass(frozen=True)
class Rules:
    """What the rows of a log have to fulfil.

    Attributes:
      limit: the fraction of bad rows, of the log and of each table, above which reading stops
      require_items: an event whose item is not in the item table is a bad row
      min_time, max_time: seconds since 1970; a time has to be in [min_time, max_time)

    Raises:
      DataError: `limit` is no fraction.
    """

    limit: float = 0.01
    require_items: bool = False
    min_time: float = 0
    max_time: float = YEAR_2100

    def __post_init__(self) -> None:
        if not 0 <= self.limit <= 1:
            raise DataError(invalid("limit", "be a fraction from 0 to 1", self.limit, "1% is limit=0.01."))


@dataclasses.dataclass(frozen=True)
class Accepted:
    """The rows of a batch that are kept, n of them.

    Attributes:
      user, item: pa.Array [n], ids of the type of their `Entities`
      timestamp: int64 [n], seconds since 1970; weight: float32 [n]; label: float64 [n], 1 where there are none
      part: of a `Joined` source
      context: pa.Table of n rows, or None without columns
      searched: (users, times, words) of searches that chose no item, which are none of the n rows
    """

    user: pa.Array
    item: pa.Array
    timestamp: np.ndarray
    weight: np.ndarray
    label: np.ndarray
    part: int
    context: pa.Table | None
    searched: tuple[pa.Array, np.ndarray, pa.Array]

    def __len__(self) -> int:
        return len(self.timestamp)


@dataclasses.dataclass(frozen=True)
class IngestReport:
    """The counts and notes of an `ingest`.

    Attributes:
      rows: rows read from the log; accepted: rows kept, also events that were shown and not liked, and searches
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


def begun(source: Source, rules: Rules, rejects: Rejects) -> tuple[Reader, Iterator[pa.RecordBatch]]:
    """The reader of a source, which has read its tables, and the batches that it has to read.

    Raises:
      DataError: as `ingest`.
      NoEvents: there is no batch.
    """
    batches = iter(source.interactions())
    first = next(batches, None)
    if first is None:
        raise NoEvents(f"{source.name}: there are no interactions.")
    with bar("Reading the tables of users and items"):
        reader = Reader(source, first.schema, rules, rejects)
    return reader, itertools.chain([first], batches)


class Reader:
    """Checks batch after batch. It also counts, and collects what the report says.

    Args:
      source: its tables are read here
      schema: of the first batch of its events
      rules, rejects: for the tables and the batches
    """

    def __init__(self, source: Source, schema: pa.Schema, rules: Rules, rejects: Rejects) -> None:
        self.name, self.rules, self.rejects = source.name, rules, rejects
        check_columns({name: name for name in (USER_ID, ITEM_ID)}, schema.names, source.name)
        self.notes: list[str] = []
        self.users, self.items = (
            Entities(id_name, schema.field(id_name).type, table, source.table_name(what), rejects, rules.limit,
                     self.notes)
            for id_name, what, table in ((USER_ID, "users", source.users()), (ITEM_ID, "items", source.items()))
        )
        if rules.require_items and not self.items.known:
            raise DataError(f"{source.name}: `require_items` needs an item table, and the source has none.")
        self.of_tables = dict(rejects.counts)
        self.times = Times((rules.min_time, rules.max_time), self.notes)
        self.rows = 0
        self.unread: dict[str, None] = {}
        self.labelled = False
        self._next_row: dict[str, int] = {}

    def read(self, batch: pa.RecordBatch) -> Accepted:
        """The good rows of a batch. The others go to `rejects`, each by the first rule that it breaks."""
        self.notes += [note for note in notes_of(batch.schema) if note not in self.notes]
        said = batch.schema.metadata or {}
        file = said.get(FILE, self.name.encode()).decode()
        checks = Checks(len(batch))
        if INVALID in batch.schema.names:
            text = batch.column(INVALID)
            checks.fail(values.numpy(text.is_valid()), "line: cannot be parsed", text)
        user = self._ids(checks, batch, USER_ID, file)
        words = _words(batch)
        item = self._ids(checks, batch, ITEM_ID, file, words)
        alone = values.numpy(item.is_null()) & words
        if self.rules.require_items:
            unknown = (self.items.find(self.items.agreed(item, file)) < 0) & ~alone
            checks.fail(unknown, f"{ITEM_ID}: not in the item table", batch.column(ITEM_ID))
        timestamp = self.times.read(checks, batch, file)
        weight = self._weights(checks, batch, file)
        label = self._labels(checks, batch, file)
        self.labelled |= label is not None
        context = self._context(checks, batch, file, label)
        self.unread.update(dict.fromkeys(json.loads(said.get(UNREAD, b"[]"))))
        self.rejects.add(checks, file, self._row_numbers(batch, file))
        self.rows += len(batch)
        ok, found = checks.ok & ~alone, checks.ok & alone
        keep, searches = pa.array(ok), pa.array(found)
        return Accepted(
            self.users.agreed(user.filter(keep), file), self.items.agreed(item.filter(keep), file), timestamp[ok],
            weight[ok], np.ones(ok.sum()) if label is None else label[ok], int(said.get(PART, 0)),
            None if context is None else context.filter(keep),
            (self.users.agreed(user.filter(searches), file), timestamp[found],
             batch.column(QUERY).filter(searches).cast(pa.string()) if found.any() else pa.array([], pa.string())),
        )

    def check(self) -> None:
        """Raises `DataError` if too many rows of the log were bad."""
        counts = {reason: n - self.of_tables.get(reason, 0) for reason, n in self.rejects.counts.items()}
        counts = {reason: n for reason, n in counts.items() if n}
        self.rejects.check(self.name, max(self.rows, 1), self.rules.limit, counts, self._hint)

    def check_labels(
        self, kept: int, liked: int, least: float, most: float, shown_alone: bool = False
    ) -> None:
        """Adds the notes about the labels of the rows that were kept.

        Args:
          kept: rows; liked: those with a label above 0; least, most: of all labels
          shown_alone: as in `ingest`

        Raises:
          NoEvents: nothing is left, or no row is liked.
        """
        if not kept:
            raise NoEvents(f"{self.name}: no interactions are left of {self.rows} rows read.")
        if not liked and not shown_alone:
            raise NoEvents(f"{self.name}: none of the {kept:,} labels is above 0, so no event is a like. Name "
                           "another column as the label, or none. With `--positive`: no event fulfils it.")
        if liked < kept:
            self.notes.append(
                f"{kept - liked:,} events are shown and not liked: their label is 0 or less, or they do not fulfil "
                "`--positive`. They are negatives of their users, and not events"
            )
        elif least < most:
            self.notes.append(f"The labels are all above 0, from {least:g} to {most:g}, so every event is a like. Of "
                              "files, `--positive \"COLUMN >= NUMBER\"` tells likes from the rest")

    def report(self, log: InteractionLog) -> IngestReport:
        """The report of all that was read; `log`: what came of it."""
        before = sum(self.of_tables.values())
        path = str(self.rejects.path) if self.rejects.path and self.rejects.counts else None
        notes = [*self.notes, *([] if log.timed else [_NO_TIMES])]
        notes += [*unread_notes(self.unread, self.labelled), *suspicious_notes(log)]
        notes += [*self.users.lacking(log.users, log.user), *self.items.lacking(log.items, log.item)]
        notes += [*_floats(USER_ID, log.users[USER_ID]), *_floats(ITEM_ID, log.items[ITEM_ID])]
        notes += [f"{self.name}: {before} rows of the tables were left out"] if before else []
        accepted = len(log) + len(log.shown) + len(log.searched)
        return IngestReport(self.rows, accepted, dict(self.rejects.counts), path, len(log.users), len(log.items),
                            tuple(notes))

    @property
    def _hint(self) -> str:
        """Hints about bad rows and the options that leave them out: sentences with a space after them, or ""."""
        out = " leaves them out. "
        ways = [(f"{WEIGHT}: not", f"`--where \"COLUMN > 0\"` of the weight's column{out}"),
                (f"{LABEL}: missing", f"`--where \"COLUMN != none\"` of the label's column{out}")]
        met = [way for reason, way in ways if any(r.startswith(reason) for r in self.rejects.counts)]
        return self.times.hint(self.rows) + "".join(met)

    def apart(self, rejects: Rejects) -> Reader:
        """A reader that begins where this one began, for a part of the batches; `take` adds what it counted.

        It knows what this one found out: the unit of times, the types of ids, and the ids of the tables.
        """
        other = copy.copy(self)
        other.rejects, other.notes, other.of_tables = rejects, [], {}
        other.rows, other.unread, other._next_row = 0, {}, {}
        other.times = self.times.apart(other.notes)
        other.users, other.items = self.users.without_features(), self.items.without_features()
        return other

    def ended(self) -> Reader:
        """This reader, to be sent back to the one that it is apart from: without the ids."""
        self.rejects.close()
        self.users = self.items = None  # type: ignore[assignment]  # it reads no more
        return self

    def take(self, other: Reader) -> None:
        """Adds the counts, notes and rejected rows of a reader that was apart and has ended."""
        self.rows += other.rows
        self.notes += [note for note in other.notes if note not in self.notes]
        self.unread.update(other.unread)
        self.labelled |= other.labelled
        self.times.take(other.times)
        self.rejects.take(other.rejects)

    def _row_numbers(self, batch: pa.RecordBatch, file: str) -> np.ndarray:
        if ROW in batch.schema.names:
            return batch.column(ROW).to_numpy()
        start = self._next_row.get(file, 0)
        self._next_row[file] = start + len(batch)
        return np.arange(start, start + len(batch))

    def _ids(
        self, checks: Checks, batch: pa.RecordBatch, name: str, file: str, optional: np.ndarray | bool = False
    ) -> pa.Array:
        ids, malformed = values.ids(batch.column(name), f"{file}: column `{name}`")
        checks.fail(malformed, f"{name}: not a whole number, or a float above 2^53", batch.column(name))
        checks.fail(values.numpy(ids.is_null()) & ~np.asarray(optional), f"{name}: missing", batch.column(name))
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


def _words(batch: pa.RecordBatch) -> np.ndarray:
    """bool [n]: does the row have search words? If it has no item, it is a search."""
    if QUERY not in batch.schema.names or not values.is_text(batch.schema.field(QUERY).type):
        return np.zeros(len(batch), bool)
    return values.numpy(pc.fill_null(pc.not_equal(batch.column(QUERY), ""), False))


def _floats(name: str, ids: pa.ChunkedArray) -> Iterator[str]:
    """A note if text ids look like whole numbers in a pandas column with a missing value, such as "7.0"."""
    first = ids.slice(0, _LOOKED_AT)
    if values.is_text(ids.type) and pc.all(pc.match_substring_regex(first, r"^\d+\.0$")).as_py():
        yield (f"{name}: these look like whole numbers written as floats, such as {first[0].as_py()!r}; they are kept "
               "as they are, so requests and tables must have the same text. Better store whole numbers")
