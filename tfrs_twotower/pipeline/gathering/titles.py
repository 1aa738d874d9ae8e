"""Titles of some rows of the item table."""

import functools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog

_LONGEST = 80


class Titles:
    """Call it with item rows for their titles, or their ids where there is none. A title of two items has an id beside.
    """

    def __init__(self, log: InteractionLog, title: str | None) -> None:
        self._items, self._title = log.items, title

    def __call__(self, rows: np.ndarray | Sequence[int]) -> list[str]:
        """Those of item rows, in this order, cut at 80 characters."""
        rows = np.asarray(rows, np.int64)
        ids = self._items[c.ITEM_ID].take(rows).to_pylist()
        if self._title is None:
            return [str(i) for i in ids]
        names = self._items[self._title].take(rows).to_pylist()
        return [str(i) if name in (None, "") else _cut(str(name)) + f" ({i})" * several
                for i, name, several in zip(ids, names, self._shared[rows].tolist())]

    @functools.cached_property
    def _shared(self) -> np.ndarray:
        """bool [item rows]: another item has the same title."""
        column = self._items[self._title]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        chunks = column.dictionary_encode(null_encoding="encode").chunks
        codes = np.concatenate([chunk.indices.to_numpy() for chunk in chunks] or [np.zeros(0, int)])
        return np.bincount(codes)[codes] > 1 if len(codes) else codes.astype(bool)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
