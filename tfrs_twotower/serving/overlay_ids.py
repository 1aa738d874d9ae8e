"""Which items are new or edited, made anew only as far as they are others than before."""

from typing import NamedTuple

import numpy as np

from tfrs_twotower.serving.catalogue import Catalogue, texts


class OverlayIds(NamedTuple):
    """The ids of m items that are new or edited, in the order of a request's `overlay_ids`.

    Attributes:
      raw: object (bytes) or int64 [m], as tensors have them.
      ids: list of m.
      place: {id: its place in `ids`}.
      rows: int64 [m], of the catalogue; −1 for a new item.
    """

    raw: np.ndarray
    ids: list[str | int]
    place: dict[str | int, int]
    rows: np.ndarray

    @classmethod
    def none(cls) -> "OverlayIds":
        """That of no item."""
        return cls(np.empty(0, object), [], {}, np.empty(0, np.int64))

    def followed_by(self, raw: np.ndarray, catalogue: Catalogue) -> "OverlayIds":
        """The `OverlayIds` of `raw`, of the same catalogue. What both begin and end with is taken over.

        Of tens of thousands of changed items one more is one place: looking all of them up took some tens of
        milliseconds, in the first request after each change.
        """
        head = alike(self.raw, raw)
        if head == len(raw) == len(self.raw):
            return self
        tail = alike(self.raw[head:][::-1], raw[head:][::-1])
        old, end = len(self.raw) - tail, len(raw) - tail
        middle = texts(raw[head:end]).tolist()
        ids = self.ids[:head] + middle + self.ids[old:]
        rows = np.concatenate([self.rows[:head], catalogue.rows(middle), self.rows[old:]])
        return OverlayIds(raw, ids, {item: place for place, item in enumerate(ids)}, rows)


def alike(first: np.ndarray, second: np.ndarray) -> int:
    """The length of the common prefix of two arrays, in elements or rows."""
    size = min(len(first), len(second))
    same = first[:size] == second[:size]
    if same.ndim > 1:
        same = same.all(axis=1)
    return size if np.all(same) else int(np.argmin(same))
