"""What a loaded export says of its items: ids, vectors, popularity, attributes."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tfrs_twotower import columns as c
from tfrs_twotower.channels import Attributes
from tfrs_twotower.exporting.similarity import Similarity
from tfrs_twotower.ids import id_type


class Catalogue:
    """The n items of an export, by row. What takes time is made when it is first asked for.

    Args:
      root: the loaded SavedModel of a `Retriever`.
      table: pa.Table of n rows with the items' attributes, or None.
      events: how many events the model was trained with, or None where the export does not say.
    """

    def __init__(self, root: Any, table: pa.Table | None, events: int | None = None) -> None:
        self._root, self._table, self._events = root, table, events
        self.id_type = id_type(root.item_ids.dtype)
        self.dim = int(root.vectors.shape[1])
        self.tower_dim = int(getattr(root, "tower_dim", self.dim))

    def __len__(self) -> int:
        return int(self._root.vectors.shape[0])

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """object (str) or int64 [n]."""
        return texts(self._root.item_ids.numpy())

    @functools.cached_property
    def vectors(self) -> np.ndarray:
        """float32 [n, dim], the SavedModel's own memory: not to be written."""
        return np.asarray(self._root.vectors.read_value())

    @property
    def tower_vectors(self) -> np.ndarray:
        """float32 [n, tower_dim]: the candidate tower's part of `vectors`, by which items are alike."""
        return self.vectors[:, : self.tower_dim]

    @functools.cached_property
    def similarity(self) -> Similarity | None:
        """The export's `Similarity`; None if it has none: the similarity of items is then ⟨v, v'⟩."""
        return getattr(self._root, "similarity", None)

    @functools.cached_property
    def measured(self) -> tuple[np.ndarray, np.ndarray]:
        """(lengths, density), float32 [n] each, as `similarity` measures items."""
        return self.similarity.lengths.numpy(), self.similarity.density.numpy()

    @functools.cached_property
    def log_popularity(self) -> np.ndarray:
        """float32 [n]: log p(item) from training counts."""
        return self._root.log_popularity.numpy()

    @functools.cached_property
    def trained(self) -> np.ndarray:
        """bool [n]: has the item training events? All have, where the export does not say how many there were."""
        if not self._events:
            return np.full(len(self), self._events is None)
        smoothed = np.exp(self.log_popularity.astype(float)) * (self._events + len(self))  # one more than there were
        return smoothed > 1.5

    @functools.cached_property
    def by_popularity(self) -> np.ndarray:
        """int64 [n]: rows, the most popular first; of equal ones in the order of the rows."""
        return np.argsort(-self.log_popularity, kind="stable")

    @functools.cached_property
    def attributes(self) -> Attributes:
        """`channels.Attributes` of n items; of an export without them the id alone."""
        return Attributes(self._table if self._table is not None else pa.table({c.ITEM_ID: self.ids}))

    @functools.cached_property
    def columns(self) -> frozenset[str]:
        """frozenset: what an event of an item may name besides what the candidate tower reads."""
        return frozenset([c.ITEM_ID, *(self._table.column_names if self._table is not None else ())])

    @functools.cached_property
    def times(self) -> frozenset[str]:
        """frozenset: the columns that hold times, which the candidate tower reads as seconds since 1970, UTC."""
        schema = self._table.schema if self._table is not None else ()
        return frozenset(f.name for f in schema if pa.types.is_timestamp(f.type) or pa.types.is_date(f.type))

    def rows(self, ids: Sequence[str | int]) -> np.ndarray:
        """int64 [len(ids)]: rows of ids; −1 for one that is not there."""
        return self._index.get_indexer(ids) if len(ids) else np.zeros(0, np.int64)

    @functools.cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.ids)


def texts(ids: np.ndarray) -> np.ndarray:
    """An array of ids as tensors have them, with text as str; of what is no UTF-8, as no log has it, a replacement."""
    if ids.dtype != object:
        return ids
    return np.array([i.decode("utf-8", "replace") for i in ids.ravel().tolist()], object).reshape(ids.shape)
