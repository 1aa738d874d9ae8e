"""The items that stand for a category."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.data.values import is_list
from tfrs_twotower.errors import DataError, nearest


def pairs(items: pa.Table, column: str) -> tuple[np.ndarray, list[Any]]:
    """(item rows int64 [p], values: list of p) of an item column of single values or lists; missing ones left out.

    Raises:
      DataError: the items have no such column.
    """
    if column not in items.column_names:
        raise DataError(f"Items have no column `{column}`." + nearest(column, items.column_names))
    array = items[column].combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    rows = np.arange(len(array))
    if is_list(array.type):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        rows, array = np.repeat(rows, lengths), array.flatten()
    there = array.is_valid().to_numpy(zero_copy_only=False)
    return rows[there], array.filter(pa.array(there)).to_pylist()


def representatives(items: pa.Table, column: str, counts: np.ndarray, n: int = 5) -> dict[str, list[str]]:
    """The items that represent a category, for users who picked it and of whom nothing else is known.

    They are the n items of the category with the most events; of equal ones, the first in the table. Items without
    events are left out.

    Args:
      items: `pa.Table` with `item_id` and `column`, a value or a list of values an item.
      column: the picked values, such as a category or genres.
      counts: int64 [items], training events of each.
      n: items for each category.

    Returns:
      {value as text: [item id as text]}.

    Raises:
      DataError: the items have no such column.
    """
    found: dict[str, list[int]] = {}
    for row, value in zip(*pairs(items, column)):
        if counts[row] > 0:
            found.setdefault(str(value), []).append(int(row))
    ids = items[c.ITEM_ID].to_pylist()
    return {
        value: [str(ids[row]) for row in sorted(rows, key=lambda row: -counts[row])[:n]]
        for value, rows in found.items()
    }
