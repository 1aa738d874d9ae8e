"""The mean vector of a category."""

import numpy as np
import pyarrow as pa

from tfrs_twotower.coldstart.categories import pairs


class CategoryMeans:
    """A vector for an item by its category alone: the mean of the vectors of the known items of that category.

    Args:
      vectors: float32 [items, dim], of the candidate tower.
      items: `pa.Table` of those rows.
      column: of `items`, a category or a list of them per item.
      known: bool [items]: the items whose vectors count, those with training events.
    """

    def __init__(self, vectors: np.ndarray, items: pa.Table, column: str, known: np.ndarray) -> None:
        rows, values = pairs(items, column)
        kept = known[rows]
        self.categories = {value: i for i, value in enumerate(dict.fromkeys(np.array(values, object)[kept].tolist()))}
        code = np.array([self.categories.get(value, -1) for value in values], np.int64)
        self.means = np.zeros((len(self.categories), vectors.shape[1]), np.float32)
        np.add.at(self.means, code[kept], vectors[rows[kept]])
        self.means /= np.bincount(code[kept], minlength=len(self.means))[:, np.newaxis]

    def vectors(self, items: pa.Table, column: str, unit: bool) -> np.ndarray:
        """float32 [m, dim] of the rows of a table: the mean over the item's categories, of length 1 if `unit`;
        zeros if none of them is known.
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
