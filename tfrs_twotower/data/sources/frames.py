"""pandas frames and Arrow tables as a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from tfrs_twotower.columns import ITEM_ID, USER_ID
from tfrs_twotower.data.conditions import check_conditions, columns_of, rows_of
from tfrs_twotower.data.source import Columns, Source, canonical, check_columns, entity_table, with_said, with_unread
from tfrs_twotower.data.sources.cells import split_cells
from tfrs_twotower.errors import DataError

_BATCH = 1 << 16


class Frames(Source):
    """Tables in memory.

    Args:
      interactions: pd.DataFrame or pa.Table, one row per event
      users, items: pd.DataFrame or pa.Table with the id column and feature columns, or None
      columns: Columns
      name: for error messages
      separators: of cells with several values, as in `Files`
      where, positive: conditions on the events, as in `Files`
    """

    def __init__(
        self, interactions: pd.DataFrame | pa.Table, users: pd.DataFrame | pa.Table | None = None,
        items: pd.DataFrame | pa.Table | None = None, columns: Columns = Columns(), name: str = "frames",
        separators: Iterable[tuple[str, str]] = (), where: Sequence[tuple[str, str, Any]] = (),
        positive: Sequence[tuple[str, str, Any]] = (),
    ) -> None:
        self._name = name
        self._separators, self._where, self._positive = dict(separators), where, positive
        self._columns = columns
        self._interactions, self._users, self._items = interactions, users, items

    @property
    def name(self) -> str:
        """For error messages."""
        return self._name

    def interactions(self) -> Iterator[pa.RecordBatch]:
        """Yields pa.RecordBatch of up to 65,536 rows."""
        where = f"{self.name} (interactions)"
        check_conditions(self._where, "where")
        check_conditions(self._positive, "positive")
        wanted = {**self._columns.mapping(), **{c: c for c in columns_of((*self._where, *self._positive))}}
        present = getattr(self._interactions, "column_names", None) or list(self._interactions.columns)
        check_columns(wanted, present, where)
        table = _table(self._interactions, list(dict.fromkeys(wanted.values())), where)
        table, columns = rows_of(table, self._columns, self._where, self._positive, where)
        table = with_unread(table, present, wanted.values())
        yield from canonical(table, columns, self.name).to_batches(_BATCH)

    def expected_rows(self) -> int | None:
        """Those of the table, unless `where` leaves some of them out before they are read."""
        return None if self._where else len(self._interactions)

    def users(self) -> pa.Table | None:
        """pa.Table or None."""
        return self._entities(self._users, self._columns.user_id, USER_ID, "users")

    def items(self) -> pa.Table | None:
        """pa.Table or None."""
        return self._entities(self._items, self._columns.item_id, ITEM_ID, "items")

    def _entities(
        self, frame: pd.DataFrame | pa.Table | None, column: str, id_name: str, what: str
    ) -> pa.Table | None:
        if frame is None:
            return None
        where = f"{self.name} ({what})"
        notes: list[str] = []
        table = entity_table(_table(frame, None, where, column, notes), column, id_name, where)
        table, found = split_cells(table, id_name, self._separators, where)
        return with_said(table, [*notes, *found])


def _table(
    frame: pd.DataFrame | pa.Table, columns: Sequence[str] | None, where: str, needed: str | None = None,
    notes: list[str] | None = None,
) -> pa.Table:
    """The columns (None: all). A column that Arrow cannot hold is left out with a note, unless it is `needed`."""
    if isinstance(frame, pa.Table):
        return frame.select(columns) if columns else frame
    if not isinstance(frame, pd.DataFrame):
        received = type(frame).__name__
        raise DataError(f"{where} must be a pandas.DataFrame or a pyarrow.Table. Received: a {received}.")
    arrays = {}
    for name in columns or frame.columns:
        try:
            arrays[str(name)] = pa.array(frame[name], from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            if notes is None or name == needed:
                raise DataError(f"{where}: column `{name}` mixes types: {error}") from error
            notes.append(f"{where}: column `{name}` is left out, as it mixes types: {error}")
    return pa.table(arrays)
