"""What an index by the caller's own item ids is, whatever engine stands behind it."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np


class Found(NamedTuple):
    """The k best items of each query.

    scores: float32 [batch, k], descending; −inf where there is nothing.
    ids: object (str) or int64 [batch, k], the caller's ids; "" or −1 where there is nothing.
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
        """Adds items, or gives items that are there another vector; it counts from the next search on.

        ids: n ids; where one stands twice, the last vector counts. vectors: [n, dim], finite.

        Raises:
          IndexingError: an id or a vector is not as it should be, or the change cannot be stored.
        """
        ...

    def delete(self, ids: Sequence[Any] | np.ndarray) -> int:
        """Removes items; an id that is not there is no error. Returns how many were there. Raises as `upsert`."""
        ...

    def search(self, queries: np.ndarray, k: int) -> Found:
        """The k items with the largest ⟨query, vector⟩.

        queries: float32 [batch, dim], finite. k: integer ≥ 1; where fewer items are there, the rest is "" or −1
        with the score −inf.

        Raises:
          IndexingError: the queries or k are not as they should be.
        """
        ...

    def compact(self) -> None:
        """Takes in what changed, so that searches and the storage are as after a fresh start."""
        ...

    def close(self) -> None:
        """Lets go of files and connections."""
        ...
