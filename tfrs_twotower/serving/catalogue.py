"""The items of a loaded export: ids, vectors, popularity, attributes."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.channels import Attributes, Elicitation
from tfrs_twotower.data.values import is_list
from tfrs_twotower.exporting.people import People
from tfrs_twotower.exporting.similarity import Similarity
from tfrs_twotower.ids import id_type


class Catalogue:
    """The n items of an export, by catalogue row. Values that take time are computed at their first use.

    Args:
      root: the loaded SavedModel of a `Retriever`.
      table: pa.Table with the items' attributes, one table row for each catalogue row; or None.
      events: the number of the model's training events, or None if the export does not say.
      people: the export's `People`, or None.
      weight: that of log p(item) in the score.
    """

    def __init__(
        self, root: Any, table: pa.Table | None, events: int | None = None, people: People | None = None,
        weight: float = 0.0,
    ) -> None:
        self._root, self._table, self._events = root, table, events
        self.people, self._weight = people, weight
        self.id_type = id_type(root.item_ids.dtype)
        self.dim = int(root.vectors.shape[1])
        self.tower_dim = int(getattr(root, "tower_dim", self.dim))

    def __len__(self) -> int:
        return int(self._root.vectors.shape[0])

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """The item ids, object (str) or int64 [n]."""
        return texts(self._root.item_ids.numpy())

    @functools.cached_property
    def vectors(self) -> np.ndarray:
        """float32 [n, dim]: the SavedModel's own memory. Do not write to it."""
        return np.asarray(self._root.vectors.read_value())

    @property
    def tower_vectors(self) -> np.ndarray:
        """float32 [n, tower_dim]: the candidate tower's part of `vectors`. The similarity of items uses it alone."""
        return self.vectors[:, : self.tower_dim]

    @functools.cached_property
    def similarity(self) -> Similarity | None:
        """The export's `Similarity`, or None. Without one, the similarity of two items is ⟨v, v'⟩."""
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
    def elicitation(self) -> Elicitation | None:
        """`channels.Elicitation` of the export's people; None if it brings none."""
        if self.people is None:
            return None
        return Elicitation(*self.people, self.vectors, self.log_popularity, float(self._root.scale), self._weight)

    @functools.cached_property
    def average(self) -> tuple[np.ndarray, float]:
        """(vector, log p) of the average item: float32 [dim], and a number."""
        return self.vectors.mean(axis=0), float(self.log_popularity.mean())

    @functools.cached_property
    def trained(self) -> np.ndarray:
        """bool [n]: Does the item have training events? True for all if the export does not say how many events it has.
        """
        if not self._events:
            return np.full(len(self), self._events is None)
        smoothed = np.exp(self.log_popularity.astype(float)) * (self._events + len(self))  # the item's events plus 1
        return smoothed > 1.5

    @functools.cached_property
    def by_popularity(self) -> np.ndarray:
        """int64 [n]: catalogue rows, the most popular first; equally popular ones in catalogue order."""
        return np.argsort(-self.log_popularity, kind="stable")

    @functools.cached_property
    def attributes(self) -> Attributes:
        """`channels.Attributes` of the n items."""
        return Attributes(self.table)

    @functools.cached_property
    def table(self) -> pa.Table:
        """The columns of the n items' table. An export without a table has the id alone."""
        return self._table if self._table is not None else pa.table({c.ITEM_ID: self.ids})

    @functools.cached_property
    def columns(self) -> dict[str, tf.TensorSpec]:
        """{name: TensorSpec as a candidate tower reads it} of the item table's columns: names of an item event."""
        schema = self._table.schema if self._table is not None else ()
        return {field.name: _spec(field.type) for field in schema}

    @functools.cached_property
    def times(self) -> frozenset[str]:
        """frozenset: the columns that hold times. The candidate tower reads them as seconds since 1970, UTC."""
        schema = self._table.schema if self._table is not None else ()
        return frozenset(f.name for f in schema if _is_time(f.type))

    def rows(self, ids: Sequence[str | int]) -> np.ndarray:
        """int64 [len(ids)]: the catalogue row of each id; −1 for an id that the catalogue lacks."""
        return self._index.get_indexer(ids) if len(ids) else np.zeros(0, np.int64)

    @functools.cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.ids)


def _is_time(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def _spec(kind: pa.DataType) -> tf.TensorSpec:
    shape = [None, None] if is_list(kind) else [None]
    kind = kind.value_type if is_list(kind) or pa.types.is_dictionary(kind) else kind
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return tf.TensorSpec(shape, tf.float32)
    whole = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or _is_time(kind)
    return tf.TensorSpec(shape, tf.int64 if whole else tf.string)


def texts(ids: np.ndarray) -> np.ndarray:
    """An array of ids from a tensor, with text as str. Bytes that are not UTF-8, which no log has, are replaced."""
    if ids.dtype != object:
        return ids
    return np.array([i.decode("utf-8", "replace") for i in ids.ravel().tolist()], object).reshape(ids.shape)
