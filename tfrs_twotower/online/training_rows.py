"""Rows of `feedback` as a log has them: ids of its type, and features as served in columns of their own."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.configuration import config
from tfrs_twotower.errors import DataError, invalid
from tfrs_twotower.ids import as_number
from tfrs_twotower.online.answer_files import HOUR, read_answers, starts
from tfrs_twotower.online.feedback import FEATURES, SCHEMA
from tfrs_twotower.online.history_store import HistoryStore

PARTS = (c.DWELL, c.VALUE, c.QUERY)  # columns of `feedback` that a log has as context, besides the event's kind
_IDS = (c.USER_ID, c.ITEM_ID)


@config
class Shape:
    """The types of the rows' columns.

    Attributes:
      numbers: those of `user_id` and `item_id` that are whole numbers; the others are text.
      context: features as served that get a column.
      texts: those of `context` that are text; the others are float64.
    """

    numbers: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if known := [name for name in self.context if name in SCHEMA.names]:
            rule = "name features of the query, not columns that each row has"
            raise DataError(invalid("context", rule, known[0], "Leave it out."))

    def rows(self, table: pa.Table) -> pa.Table:
        """The rows of `feedback` in this shape; `features` stays.

        Raises:
          DataError: an id of a column of numbers is none.
        """
        for name in self.numbers:
            try:
                given = pc.if_else(pc.equal(table[name], ""), pa.scalar(None, pa.string()), table[name])
                column = pc.cast(given, pa.int64())  # a search may have no item
            except pa.ArrowInvalid as error:
                rule, way_out = "be a whole number, as the first ones, of 64 bits", "Collect anew, with `--text-ids`."
                raise DataError(invalid(name, rule, str(error), way_out)) from error
            table = table.set_column(table.schema.get_field_index(name), name, column)
        if self.context:
            served = [json.loads(text) if text else {} for text in table[FEATURES].to_pylist()]
            for name in self.context:
                kind = pa.string() if name in self.texts else pa.float64()
                table = table.append_column(name, _column([row.get(name) for row in served], kind))
        return table


def numbers(history: HistoryStore, since: int, until: int) -> tuple[str, ...]:
    """The names among `user_id` and `item_id` whose first values in the store are whole numbers, as "7", not "007".

    Raises:
      StoreError: the store fails.
    """
    page = next((page for page in history.events(since, until) if page), [])
    found = [name for name in _IDS if page and all(_is_number(getattr(event, name)) for event in page)]
    return tuple(found)


def _is_number(text: str) -> bool:
    try:
        return not text or str(as_number(text)) == text
    except ValueError:
        return False


def texts(logs: Sequence[str], context: Sequence[str]) -> tuple[str, ...]:
    """The features of `context` that are no numbers in the newest answers that have them; none if no answer has."""
    missing, found = list(context), []
    for log in logs:
        for hour in reversed(starts(log) if missing else ()):
            for features in map(json.loads, read_answers(log, hour, hour + HOUR)[FEATURES].to_pylist()):
                for name in [name for name in missing if features.get(name) is not None]:
                    missing.remove(name)
                    found += [name] if not isinstance(features[name], (int, float)) else []
            if not missing:
                break
    return tuple(found)


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if any(isinstance(value, list) for value in values):
        raise DataError("A feature that is a list cannot be a column of the rows. Read it from `features`.")
    if pa.types.is_string(kind):
        return pa.array([None if value is None else str(value) for value in values], kind)
    return pa.array([float(value) if isinstance(value, (int, float)) else None for value in values], kind)


def values_of(values: Sequence[Any]) -> pa.Array:
    """JSON values of a column as Arrow; as text if they are of several types."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
