"""Titles of some rows of the item table."""

from collections.abc import Sequence

import numpy as np

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog

_LONGEST = 80


class Titles:
    """Call it with item rows for their titles, or their ids where there is none. The table is not read as a whole."""

    def __init__(self, log: InteractionLog, title: str | None) -> None:
        self._items, self._title = log.items, title

    def __call__(self, rows: np.ndarray | Sequence[int]) -> list[str]:
        """Those of item rows, in this order, cut at 80 characters."""
        ids = self._items[c.ITEM_ID].take(np.asarray(rows, np.int64)).to_pylist()
        if self._title is None:
            return [str(i) for i in ids]
        names = self._items[self._title].take(np.asarray(rows, np.int64)).to_pylist()
        return [str(i) if name in (None, "") else _cut(str(name)) for i, name in zip(ids, names)]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
