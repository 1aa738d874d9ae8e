"""Source → checked, coded, time-ordered interaction log. Streamed: the raw log is never in memory."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa

from tfrs_twotower.columns import EVENT
from tfrs_twotower.data import wide
from tfrs_twotower.data.checking import YEAR_2100, Accepted, IngestReport, Reader, Rules, begun
from tfrs_twotower.data.counted import counted
from tfrs_twotower.data.log import InteractionLog, whole_context
from tfrs_twotower.data.rejects import Rejects
from tfrs_twotower.data.source import Source
from tfrs_twotower.data.unchosen import Searched, Shown, dropped
from tfrs_twotower.errors import DataError
from tfrs_twotower.progress import bar


def ingest(
    source: Source, limit: float = 0.01, rejected_to: str | os.PathLike[str] | None = None, require_items: bool = False,
    min_time: float = 0, max_time: float = YEAR_2100, shown_alone: bool = False,
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
      shown_alone: True also takes a log without a like, of items that were only shown; False: it raises `NoEvents`

    Returns:
      (InteractionLog, IngestReport)

    Raises:
      DataError: a column is absent or has an unusable type, or too many rows are bad.
      NoEvents: no row is left, or no event is a like.
    """
    rejects = Rejects(rejected_to)
    try:
        reader, batches = begun(source, Rules(limit, require_items, min_time, max_time), rejects)
        coded = _Coded(reader)
        with counted(source, batches) as taken:
            for batch in taken:
                coded.add(reader.read(batch))
        reader.check()
        with bar("Sorting the log"):
            log = coded.log(shown_alone)
            return log, reader.report(log)
    finally:
        rejects.close()


class _Coded:
    """Keeps codes, times, weights and context of the rows that the reader accepts."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._user, self._item, self._timestamp, self._weight, self._label, self._part = [], [], [], [], [], []
        self._context, self._searched = [], []

    def add(self, rows: Accepted) -> None:
        self._user.append(self._reader.users.code(rows.user))
        self._item.append(self._reader.items.code(rows.item))
        self._timestamp.append(rows.timestamp)
        self._weight.append(rows.weight)
        self._label.append(rows.label)
        self._part.append(np.full(len(rows), rows.part, np.uint16))
        self._context.append((rows.context, len(rows)))
        users, times, words = rows.searched
        self._searched.append(Searched(self._reader.users.code(users), times, words))

    def log(self, shown_alone: bool) -> InteractionLog:
        """The events so far, in time order; without times, in random order."""
        timestamp, label = np.concatenate(self._timestamp), np.concatenate(self._label)
        self._timestamp.clear()
        liked = label > 0
        self._reader.check_labels(len(label), int(np.count_nonzero(liked)), label.min(initial=np.inf),
                                  label.max(initial=-np.inf), shown_alone)
        if self._reader.times.there:
            order = np.argsort(timestamp, kind="stable")
        else:
            order = np.random.default_rng(0).permutation(len(timestamp))
        liked = liked[order]
        order, shown = order[liked], order[~liked]
        user, item, part = (np.concatenate(values) for values in (self._user, self._item, self._part))
        context = self._whole_context()
        kinds = wide.take(context[EVENT], shown) if EVENT in context.column_names else pa.array([], pa.null())
        return InteractionLog(
            user=user[order],
            item=item[order],
            timestamp=timestamp[order],
            weight=_sorted(self._weight, order),
            context=pa.table({name: wide.take(context[name], order) for name in context.column_names}),
            users=self._reader.users.table(),
            items=self._reader.items.table(),
            part=part[order],
            shown=Shown(user[shown], item[shown], timestamp[shown], dropped(kinds)).once(part[shown]),
            searched=Searched.of(self._searched),
        )

    def _whole_context(self) -> pa.Table:
        try:
            context = whole_context(self._context)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(
                f"{self._reader.name}: a context column changes its type between files: {error}"
            ) from error
        self._context = []
        return context


def _sorted(chunks: list[np.ndarray], order: np.ndarray) -> np.ndarray:
    """The chunks as one array in the given order. It frees them on the way, to keep the peak of memory low."""
    whole = np.concatenate(chunks)
    chunks.clear()
    return whole[order]
