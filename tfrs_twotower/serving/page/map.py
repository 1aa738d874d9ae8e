"""The map of the items: their vectors in two dimensions."""

import weakref
from typing import Any

import numpy as np
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.channels.attributes import TEXT
from tfrs_twotower.data.values import is_list
from tfrs_twotower.serving.catalogue import Catalogue

MOST = 2000  # items on the map
_POPULAR = 500  # of these the most popular; the others are drawn
_GROUPS = (2, 40)  # values of a column that colours the map; the page colours the most frequent ones
_SEED = 0


class Maps:
    """The maps of versions, each computed once."""

    def __init__(self) -> None:
        self._found: weakref.WeakKeyDictionary[Catalogue, dict[str, Any]] = weakref.WeakKeyDictionary()

    def of(self, catalogue: Catalogue, title: str | None) -> dict[str, Any]:
        """A map, ready for JSON: a sample of items, most popular first, by two principal components.

        Args:
          catalogue: a `Catalogue`.
          title: the column of titles, or None.

        Returns:
          {"column": the column of the groups or None, "shown": share of the variance that the map shows, "of": items of
          the catalogue, "items": [[id, title, x, y, group], …]}, with x and y from −1 to 1.
        """
        if catalogue not in self._found:
            self._found[catalogue] = _map(catalogue, title)
        return self._found[catalogue]


def _map(catalogue: Catalogue, title: str | None) -> dict[str, Any]:
    rows, column = _sample(catalogue), _group_column(catalogue, title)
    places, shown = principal(catalogue.tower_vectors[rows])
    table = catalogue.table.take(rows)
    titles = table[title].to_pylist() if title else [None] * len(rows)
    groups = table[column].to_pylist() if column else [None] * len(rows)
    items = [
        [item, name or str(item), round(x, 4), round(y, 4), (group[0] if group else None) if isinstance(group, list)
         else group]
        for item, name, (x, y), group in zip(catalogue.ids[rows].tolist(), titles, places.tolist(), groups)
    ]
    return {"column": column, "shown": round(shown, 4), "of": len(catalogue), "items": items}


def principal(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """(float [n, 2] from −1 to 1, share of the variance): vectors [n, dim] by their first two principal components."""
    centred = vectors - vectors.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(vectors), 2))
    found = centred @ axes[:2].T
    places[:, : found.shape[1]] = found
    places /= max(float(np.abs(places).max()), 1e-9)
    total = float((sizes**2).sum())
    return places, float((sizes[:2] ** 2).sum()) / total if total else 0.0


def _sample(catalogue: Catalogue) -> np.ndarray:
    if len(catalogue) <= MOST:
        return catalogue.by_popularity
    rest = np.random.default_rng(_SEED).choice(catalogue.by_popularity[_POPULAR:], MOST - _POPULAR, replace=False)
    return np.concatenate([catalogue.by_popularity[:_POPULAR], rest])


def _group_column(catalogue: Catalogue, title: str | None) -> str | None:
    """The text column with the most values, of those with few enough to tell by colour; None if there is none."""
    counts = {}
    for name, kind in catalogue.attributes.kinds.items():
        if kind == TEXT and name not in (c.ITEM_ID, title):
            values = catalogue.table[name]
            values = pc.list_flatten(values) if is_list(values.type) else values
            counts[name] = pc.count_distinct(values).as_py()
    fit = {name: count for name, count in counts.items() if _GROUPS[0] <= count <= _GROUPS[1]}
    return max(fit, key=lambda name: fit[name]) if fit else None
