"""The columns of the item table that an answer carries beside its ids."""

import datetime
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tfrs_twotower import columns as c
from tfrs_twotower.errors import nearest
from tfrs_twotower.serving.catalogue import Catalogue
from tfrs_twotower.serving.current_items import CurrentItems
from tfrs_twotower.serving.errors import InvalidArgument


def check_fields(catalogue: Catalogue, fields: Collection[str]) -> None:
    """Raises `InvalidArgument` for a field that the item table lacks."""
    for name in fields:
        if name not in catalogue.table.column_names:
            raise InvalidArgument(f"`fields` must name columns of the item table. Received: {name[:80]!r}."
                                  + nearest(name, catalogue.table.column_names))


def described(items: CurrentItems, ids: Sequence[str | int], fields: Sequence[str]) -> list[dict[str, Any]]:
    """{field: value} of each item, ready for JSON: None where the item has no value.

    A time is in seconds since 1970, UTC, as in an item event. An item that changed since the export has the values of
    its event.

    Args:
      items: `CurrentItems`.
      ids: item ids; an unknown item has no values.
      fields: columns of the item table.
    """
    catalogue, fields = items.catalogue, list(dict.fromkeys(fields))
    rows, places = catalogue.rows(ids), [items.place.get(item) for item in ids]
    known = np.array([row for row, place in zip(rows, places) if row >= 0 and place is None], np.int64)
    taken = iter(catalogue.table.select(fields).take(known).to_pylist() if fields else [{}] * len(known))
    found = []
    for item, row, place in zip(ids, rows, places):
        if place is not None:
            values = {**items.overlay_features[place], c.ITEM_ID: item}
        else:
            values = next(taken) if row >= 0 else {}
        found.append({name: _plain(values.get(name)) for name in fields})
    return found


def _plain(value: Any) -> Any:
    """A value of an Arrow table or of an item event as JSON has it."""
    if isinstance(value, list):
        return [_plain(single) for single in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.datetime):
        return int(value.replace(tzinfo=value.tzinfo or datetime.timezone.utc).timestamp())
    if isinstance(value, datetime.date):
        return int(datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.timezone.utc).timestamp())
    if value is None or isinstance(value, (str, int)):
        return value
    return float(value) if hasattr(value, "as_tuple") else str(value)  # a decimal; anything else
