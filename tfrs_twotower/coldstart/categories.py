"""What stands for a category: its most popular items, or the mean of its items' vectors."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.errors import DataError, nearest


def pairs(items, column):
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
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        rows, array = np.repeat(rows, lengths), array.flatten()
    there = array.is_valid().to_numpy(zero_copy_only=False)
    return rows[there], array.filter(pa.array(there)).to_pylist()


def representatives(items, column, counts, n=5):
    """The items that stand for a category where a person picked it and nothing else is known of them.

    They are the n items of the category with the most events; of equal ones, those further up in the table. An item
    without events stands for nothing.

    Args:
      items: `pa.Table` with `item_id` and `column`, a value or a list of values an item.
      column: what people pick from, such as a category or genres.
      counts: int64 [items], training events of each.
      n: how many for each category.

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


class CategoryMeans:
    """A vector for an item by its category alone: the mean of the vectors of the known items of that category.

    Args:
      vectors: float32 [items, dim], of the candidate tower.
      items: `pa.Table` of those rows.
      column: of `items`, a category or a list of them an item.
      known: bool [items]: whose vectors count; those of items with training events.
    """

    def __init__(self, vectors, items, column, known):
        rows, values = pairs(items, column)
        kept = known[rows]
        self.categories = {value: i for i, value in enumerate(dict.fromkeys(np.array(values, object)[kept].tolist()))}
        code = np.array([self.categories.get(value, -1) for value in values], np.int64)
        self.means = np.zeros((len(self.categories), vectors.shape[1]), np.float32)
        np.add.at(self.means, code[kept], vectors[rows[kept]])
        self.means /= np.bincount(code[kept], minlength=len(self.means))[:, np.newaxis]

    def vectors(self, items, column, unit):
        """float32 [m, dim] of the rows of a table: the mean over the item's categories, of length 1 where `unit`;
        zeros where none of them is known.
        """
        rows, values = pairs(items, column)
        found = np.zeros((items.num_rows, self.means.shape[1]), np.float32)
        count = np.zeros((items.num_rows, 1), np.float32)
        for row, value in zip(rows, values):
            if value in self.categories:
                found[row] += self.means[self.categories[value]]
                count[row] += 1
        found /= np.maximum(count, 1)
        if unit:
            found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return found
