"""New events behind a log that was read before."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from tfrs_twotower.columns import ITEM_ID, USER_ID
from tfrs_twotower.data import values, wide
from tfrs_twotower.data.checking import IngestReport, Rules
from tfrs_twotower.data.ingest import ingest
from tfrs_twotower.data.kept import empty_array
from tfrs_twotower.data.log import InteractionLog, whole_context
from tfrs_twotower.data.source import DISTINCT, Source
from tfrs_twotower.data.sources.joined import newest
from tfrs_twotower.data.unchosen import Searched, Shown
from tfrs_twotower.errors import DataError, NoEvents


def append(
    log: InteractionLog, source: Source, rules: Rules = Rules(), rejected_to: str | os.PathLike[str] | None = None,
    part: int | None = None, work: Path | None = None,
) -> tuple[InteractionLog, IngestReport]:
    """The log with the events of a newer source. Only the source is read.

    The result has the same events as `ingest` of both sources joined. Users and items of the log keep their rows, and
    new ones follow. If the source describes a user or item again, its description counts.

    Args:
      log: what was read before
      source: a Source of new events, with the same types of columns
      rules: what the new rows have to fulfil
      rejected_to: as in `ingest`
      part: the number of the new events' part; None: one more than the largest of the log
      work: a folder for the arrays of the result, so that they need not fit the memory; None: they are in memory

    Returns:
      (InteractionLog, IngestReport of the source). Without a good row in the source it is the log itself.

    Raises:
      DataError: as in `ingest`; or a column has another type than in the log, or only one of the two has times.
    """
    try:
        day, report = ingest(
            Behind(log.users, log.items, source), rejected_to=rejected_to, shown_alone=True, **dataclasses.asdict(rules)
        )
    except NoEvents as error:
        return log, IngestReport(0, 0, {}, None, len(log.users), len(log.items), (str(error),))
    for name, before, now in ((USER_ID, log.users, day.users), (ITEM_ID, log.items, day.items)):
        if values.is_text(before[name].type) != values.is_text(now[name].type):
            raise DataError(f"{source.name}: column `{name}` is {now[name].type} here and {before[name].type} in the "
                            "log before. Store it as one type.")
    if log.timed != day.timed:
        having, lacking = ("the log before", source.name) if log.timed else (source.name, "the log before")
        raise DataError(f"{having} has times and {lacking} has none. Name the column of times of both, or of none.")
    try:
        context = whole_context([(log.context, len(log)), (day.context, len(day))])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"{source.name}: a context column has another type in the log before: {error}") from error
    parts = np.zeros(len(log), np.uint16) if log.part is None else log.part
    part = parts.max(initial=0) + 1 if part is None else part
    merged = _Merged(log.timestamp, day.timestamp, work)
    whole = InteractionLog(
        **{name: merged.array(name, getattr(log, name), getattr(day, name))
           for name in ("user", "item", "timestamp", "weight")},
        context=merged.table(context), users=day.users, items=day.items,
        part=merged.array("part", parts, np.full(len(day), part, np.uint16)), shown=_both(log.shown, day.shown, work),
        searched=Searched.of([log.searched, day.searched]),
    )
    notes = (f"behind {len(log):,} events that were read before", *report.notes)
    return whole, dataclasses.replace(report, notes=notes)


class Behind(Source):
    """A source whose tables begin with those of a log.

    Args:
      users, items: of the log
      source: a Source of newer events
    """

    def __init__(self, users: pa.Table, items: pa.Table, source: Source) -> None:
        self._users, self._items, self._source = users, items, source

    @property
    def name(self) -> str:
        return self._source.name

    def interactions(self) -> Iterator[pa.RecordBatch]:
        return self._source.interactions()

    def expected_rows(self) -> int | None:
        return self._source.expected_rows()

    def users(self) -> pa.Table | None:
        return _described(self._users, self._source.users(), USER_ID, self.name)

    def items(self) -> pa.Table | None:
        return _described(self._items, self._source.items(), ITEM_ID, self.name)


def _described(before: pa.Table, now: pa.Table | None, id_name: str, where: str) -> pa.Table | None:
    """`newest` of a log's table and a source's, whose columns first get the types that a log has."""
    if now is None:
        return before.replace_schema_metadata({DISTINCT: b""})
    return newest([before, _plain(now, id_name, before[id_name].type, where)], id_name)


def _plain(table: pa.Table, id_name: str, id_type: pa.DataType, where: str) -> pa.Table:
    columns = {}
    for name in table.column_names:
        columns[name], label = table[name], f"{where}: column `{name}`"
        with contextlib.suppress(DataError):  # `ingest` says which columns it leaves out
            columns[name] = values.plain(table[name], label)
    ids, malformed = values.ids(table[id_name], f"{where}: column `{id_name}`")
    if ids.type != id_type and not malformed.any():
        with contextlib.suppress(pa.ArrowInvalid):  # text that is no number: `newest` says that the types differ
            columns[id_name] = ids.cast(id_type)
    return pa.table(columns, metadata=table.schema.metadata)


class _Merged:
    """The order in which events stand behind others, both in the order of their times.

    What is earlier than all that is new stays as it is.

    Args:
      before, now: int64 [n], int64 [m], the times
      work: a folder for the arrays; None: they are in memory
    """

    def __init__(self, before: np.ndarray, now: np.ndarray, work: Path | None) -> None:
        self._start = int(np.searchsorted(before, now[0], side="right")) if len(now) else len(before)
        self._order = np.argsort(np.concatenate([before[self._start:], now]), kind="stable")
        self._work = work

    def array(self, name: str, before: np.ndarray, now: np.ndarray) -> np.ndarray:
        """[n + m]; `name` is that of its file."""
        array = empty_array(self._work, name, before.dtype, len(before) + len(now))
        array[: self._start] = before[: self._start]
        array[self._start:] = np.concatenate([before[self._start:], now])[self._order]
        return array

    def table(self, table: pa.Table) -> pa.Table:
        """A table [n + m] of the rows before and the new ones."""
        rest = {name: wide.take(table[name].slice(self._start), self._order) for name in table.column_names}
        return pa.table({name: pa.chunked_array(
            [*table[name].slice(0, self._start).cast(column.type).chunks, *column.chunks], column.type
        ) for name, column in rest.items()})


def _both(before: Shown, now: Shown, work: Path | None) -> Shown:
    merged = _Merged(before.timestamp, now.timestamp, work)
    names = ("user", "item", "timestamp")
    left = [np.zeros(len(of), bool) if of.dropped is None else of.dropped for of in (before, now)]
    both = Shown(
        **{name: merged.array(f"shown-{name}", getattr(before, name), getattr(now, name)) for name in names},
        dropped=merged.array("shown-dropped", *left) if before.dropped is not None or now.dropped is not None else None,
    )
    return both.once(merged.array("shown-part", np.zeros(len(before), np.uint16), np.ones(len(now), np.uint16)))
