"""The interface of an index by the caller's own item ids, for any engine."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np


class Found(NamedTuple):
    """The k best items of each query.

    scores: float32 [batch, k], descending; −inf pads.
    ids: object (str) or int64 [batch, k], the caller's ids; "" or −1 pads.
    """

    scores: np.ndarray
    ids: np.ndarray


@runtime_checkable
class ItemIndex(Protocol):
    """Upserts, deletes and searches by item id, NumPy in and out. No `tf.Module`: a program searches it by vector."""

    dim: int
    id_type: type

    def __len__(self) -> int:
        """The items that a search can return."""
        ...

    def upsert(self, ids: Sequence[Any] | np.ndarray, vectors: np.ndarray) -> None:
        """Adds items, or replaces the vectors of items; searches that begin later see it.

        ids: n ids; if one comes twice, the last vector counts. vectors: [n, dim], finite.

        Raises:
          IndexingError: an id or a vector is wrong, or the change cannot be stored.
        """
        ...

    def delete(self, ids: Sequence[Any] | np.ndarray) -> int:
        """Removes items; an unknown id is no error. Returns the number of removed items. Raises as `upsert`."""
        ...

    def search(self, queries: np.ndarray, k: int) -> Found:
        """The k items with the largest ⟨query, vector⟩.

        queries: float32 [batch, dim], finite. k: integer ≥ 1; if there are fewer items, the rest is "" or −1
        with the score −inf.

        Raises:
          IndexingError: the queries or k are wrong.
        """
        ...

    def compact(self) -> None:
        """Merges the changes, so that searches and storage are as after a fresh start."""
        ...

    def close(self) -> None:
        """Closes files and connections."""
        ...
