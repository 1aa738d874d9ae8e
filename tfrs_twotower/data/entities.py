"""Ids of users or items coded as rows of their table; ids that only the log has get rows with null features."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data import values, wide
from tfrs_twotower.data.rejects import Checks, Rejects
from tfrs_twotower.data.source import DISTINCT, bad_lines, notes_of
from tfrs_twotower.errors import DataError

_FEW = 8  # times more ids in the table than are asked for once: a search of the table for them needs no index


class Entities:
    """The table of one side while the log is read.

    Args:
      id_name: the id's canonical name
      id_type: Arrow type of the ids in the log; a table with the other kind of id is cast to it
      table: pa.Table with `id_name`, or None
      where: for messages
      rejects: gets rows with a missing or repeated id
      limit: the largest fraction of such rows that is no error
      notes: list that gets a line for each change that rejects no row
    """

    def __init__(
        self, id_name: str, id_type: pa.DataType, table: pa.Table | None, where: str, rejects: Rejects, limit: float,
        notes: list[str],
    ) -> None:
        self.id_name, self.known = id_name, table is not None
        self._where = where
        self._ids: pa.Array = pa.nulls(0)  # of the table
        self._type: pa.DataType | None = None
        self._features: pa.Table | None = None
        self._new: dict[Any, int] = {}  # {id: row} of those that `code` met and the table lacks
        self._asked = False  # whether ids of the log were looked up in the table
        if table is not None:
            self._load(table, id_type, rejects, limit, notes)

    def _load(self, table: pa.Table, id_type: pa.DataType, rejects: Rejects, limit: float, notes: list[str]) -> None:
        raw = table.column(self.id_name)
        ids, malformed = values.ids(raw, f"{self._where}: column `{self.id_name}`")
        log_ids, _ = values.ids(pa.array([], id_type), f"{self._where}: column `{self.id_name}` of the log")
        if not pa.types.is_null(id_type) and values.is_text(log_ids.type) != values.is_text(ids.type):
            try:
                ids = ids.cast(log_ids.type)
            except pa.ArrowInvalid as error:
                raise DataError(
                    f"{self._where}: column `{self.id_name}` is text and the log's is a number, "
                    f"and not all of the text are numbers ({error}). Store both as one type."
                ) from error
        self._type = ids.type
        checks = Checks(len(table))
        checks.fail(malformed, f"{self._where}: {self.id_name} not a whole number, or a float above 2^53", raw)
        checks.fail(values.numpy(ids.is_null()), f"{self._where}: {self.id_name} missing", raw)
        if DISTINCT not in (table.schema.metadata or ()):
            checks.fail(_repeated(ids), f"{self._where}: {self.id_name} repeated, first row kept", raw)
        rejects.add(checks, self._where, np.arange(len(table)))
        reasons = {reason: int((checks.code == i).sum()) for i, (reason, _) in enumerate(checks.reasons) if i}
        notes += notes_of(table.schema)
        bad = self._reject_lines(bad_lines(table.schema), rejects, reasons)
        rejects.check(self._where, max(len(table) + bad, 1), limit, reasons)
        keep = pa.array(checks.ok)
        self._ids = ids.filter(keep)
        self._features = self._plain(table, notes).filter(keep)

    def _reject_lines(
        self, lines: Sequence[tuple[str, int, str]], rejects: Rejects, reasons: dict[str, int]
    ) -> int:
        """Rejects [(file, row, text)] of lines that could not be parsed; returns how many."""
        reason = f"{self._where}: line cannot be parsed"
        for file, group in itertools.groupby(lines, key=lambda line: line[0]):
            _, rows, texts = zip(*group)
            checks = Checks(len(rows))
            checks.fail(np.ones(len(rows), bool), reason, pa.array(texts))
            rejects.add(checks, file, np.array(rows))
        if lines:
            reasons[reason] = len(lines)
        return len(lines)

    def _plain(self, table: pa.Table, notes: list[str]) -> pa.Table:
        columns = {}
        for name in table.column_names:
            try:
                array = values.plain(table.column(name), f"{self._where}: column `{name}`")
            except DataError as error:  # a feature that names it gets the error of a missing column
                if name == self.id_name:
                    raise
                notes.append(f"{error} It is left out; `--skip {name}` says so without reading it")
                continue
            infinite = values.infinite(array)
            if infinite.any():
                array = pc.if_else(pa.array(infinite), pa.scalar(None, array.type), array)
                notes.append(f"{self._where}: {infinite.sum()} infinite values of `{name}` count as missing")
            columns[name] = array
        return pa.table(columns)

    @property
    def ids(self) -> pa.Array:
        """The ids of the table, which have the first rows; empty without one."""
        return self._ids

    def without_features(self) -> Entities:
        """Another, which knows the ids of the table alone."""
        other = copy.copy(self)
        other._features, other._new = None, {}
        return other

    @functools.cached_property
    def _index(self) -> pd.Index:
        """The ids of the table, to be looked up. A dictionary of a large table takes several times as long to make."""
        return pd.Index(self._ids.to_numpy(zero_copy_only=False))

    def agreed(self, ids: pa.Array, file: str) -> pa.Array:
        """The ids, all null if they are of the other type and missing.

        Raises:
          DataError: they are text where earlier ones are numbers, or the reverse.
        """
        if self._type is None:
            self._type = ids.type
        if values.is_text(ids.type) != values.is_text(self._type):
            if ids.null_count < len(ids):
                raise DataError(
                    f"{file}: column `{self.id_name}` is {ids.type} here and {self._type} elsewhere. "
                    "Store it as one type."
                )
            return pa.nulls(len(ids), self._type)
        return ids

    def find(self, ids: pa.Array) -> np.ndarray:
        """int32 [n]: rows of known ids, -1 for others and for null."""
        index, distinct = _encoded(ids)
        return np.append(self._known(distinct), np.int32(-1))[index]

    def code(self, ids: pa.Array) -> np.ndarray:
        """int32 [n]: rows of the ids; a new id gets the next row."""
        index, distinct = _encoded(ids)
        rows = self._known(distinct)
        new = np.flatnonzero(rows < 0)
        rows[new] = np.arange(len(new)) + len(self._ids) + len(self._new)
        self._new.update(zip([distinct[i] for i in new], rows[new].tolist()))
        return rows[index]

    def _known(self, distinct: Sequence[Any]) -> np.ndarray:
        """int32 [n]: rows of known ids, -1 for others."""
        rows = np.full(len(distinct), -1, np.int32)
        if 0 < len(distinct) < len(self._ids) // _FEW and not self._asked:
            place = pc.index_in(self._ids, value_set=pa.array(distinct, self._ids.type))
            known = values.numpy(place.is_valid())
            rows[values.numpy(place.drop_null())] = np.flatnonzero(known)
        elif len(self._ids) and len(distinct):
            rows[:] = self._index.get_indexer(distinct)
        self._asked |= len(distinct) > 0
        for place in np.flatnonzero(rows < 0) if self._new else ():
            rows[place] = self._new.get(distinct[int(place)], -1)
        return rows

    def lacking(self, table: pa.Table, rows: np.ndarray) -> list[str]:
        """A list with a note if ids of the log have no row in the given table; empty if that has no column but ids.

        Args:
          table: of the log: the given one, and the ids that only the log has
          rows: int32 [n], the codes of the whole log.
        """
        ids, known = table[self.id_name], len(self._ids)
        if self._features is None or self._features.column_names == [self.id_name] or len(ids) == known:
            return []  # nobody has features in a table of ids, such as that of an earlier log to which events are added
        met = np.count_nonzero(np.bincount(rows))
        beside = f", while the table has ids such as {ids[0].as_py()!r}" if known else ""
        return [f"{self._where}: {len(ids) - known:,} of the {met:,} ids that the log has are not in the table, "
                f"such as {ids[known].as_py()!r}{beside}. They are without features."]

    def table(self, new: pa.ChunkedArray | None = None) -> pa.Table:
        """pa.Table: known rows in their table's order, then ids of the log in order of appearance.

        Args:
          new: the ids of the log that the table lacks; None: those that `code` met.
        """
        new = pa.chunked_array([pa.array(list(self._new), self._type)]) if new is None else new
        columns = {self.id_name: pa.chunked_array([self._ids.cast(new.type), *new.chunks], new.type)}
        if self._features is not None:
            more = len(columns[self.id_name]) - len(self._features)
            for name in self._features.column_names:
                if name != self.id_name:
                    known = self._features.column(name)
                    columns[name] = pa.chunked_array([*known.chunks, pa.nulls(more, known.type)], known.type)
        return wide.whole(pa.table(columns))


def _encoded(ids: pa.Array) -> tuple[np.ndarray, list[Any]]:
    """(index into the distinct ids, -1 for null; list of them): Python touches the distinct ones only."""
    encoded = ids.dictionary_encode()
    return values.numpy(pc.fill_null(encoded.indices, -1)), encoded.dictionary.to_pylist()


def _repeated(ids: pa.Array) -> np.ndarray:
    """bool [n]: an earlier row has the same id."""
    if not ids.null_count and len(ids.unique()) == len(ids):
        return np.zeros(len(ids), bool)
    encoded = ids.dictionary_encode()
    index = values.numpy(pc.fill_null(encoded.indices, -1))
    repeated = np.ones(len(ids), bool)
    repeated[np.unique(index, return_index=True)[1]] = False
    return repeated & (index >= 0)
