"""Vectors for items without training events, from their category alone."""

from typing import Any

import numpy as np
import pyarrow as pa

from tfrs_twotower import columns as c
from tfrs_twotower.channels import Attributes
from tfrs_twotower.coldstart import CategoryMeans
from tfrs_twotower.errors import IndexingError, nearest
from tfrs_twotower.serving.catalogue import Catalogue


def check_column(column: str, attributes: Attributes) -> None:
    """Raises `IndexingError` if the items have no attribute `column`."""
    if column not in attributes.kinds:
        raise IndexingError(f"`category_means`: items have no attribute `{column}`.{nearest(column, attributes.kinds)}")


class CategoryVectors:
    """Gives items without training events the mean vector of the trained items in their category.

    A trained item is an item of the exported catalogue that has training events. If all vectors of the catalogue have
    length 1, the means are scaled to length 1 too.

    Args:
      catalogue: a `serving.catalogue.Catalogue`.
      column: an attribute of items: one category for each item, or a list of categories.

    Raises:
      IndexingError: the items have no attribute `column`.
    """

    def __init__(self, catalogue: Catalogue, column: str) -> None:
        check_column(column, catalogue.attributes)
        self._catalogue, self._column = catalogue, column
        self._attributes = Attributes(catalogue.attributes.table.select([column]))
        vectors = catalogue.tower_vectors
        self._unit = bool(np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3))
        self._means = CategoryMeans(vectors, self._attributes.table, column, catalogue.trained)

    def put(self, items: list[dict[str, Any]], vectors: np.ndarray) -> None:
        """Writes the means into the tower's part of `vectors` [n, dim].

        An item keeps its own vector if no trained item has one of its categories.

        items: list of n {"item_id": …, attribute: value}. A value whose type is not the attribute's is no category.
        """
        rows = self._catalogue.rows([item[c.ITEM_ID] for item in items])
        cold = np.flatnonzero((rows < 0) | ~self._catalogue.trained[rows])
        if not len(cold):
            return
        categories = self._attributes.like([items[at] for at in cold]).values(self._column)
        table = pa.table({self._column: categories})
        means = self._means.vectors(table, self._column, self._unit)
        found = means.any(axis=1)
        vectors[cold[found], : means.shape[1]] = means[found]
