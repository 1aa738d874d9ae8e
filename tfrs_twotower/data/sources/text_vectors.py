"""A source whose items get vectors of their texts, from a small language model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.columns import ITEM_ID
from tfrs_twotower.configuration import config
from tfrs_twotower.data.source import Source
from tfrs_twotower.data.values import is_list, is_text
from tfrs_twotower.errors import DataError, nearest
from tfrs_twotower.extras import require


@config
class TextVectors(Source):
    """Another source, with one more item column: vectors of 256 numbers of the items' texts, for a `Vector` feature.

    The model is WordLlama's: the mean of pre-trained token vectors. Its weights come with the package (extra `text`),
    so nothing is downloaded. A thousand titles take a second. Vectors of other models, or of images, need no such
    source: they are item columns of lists of numbers.

    Attributes:
      source: of the events, users and items.
      columns: text columns of the items; several are joined. Empty: all of them; items with a column of vectors then
        need no text.
      into: the new column's name.
    """

    source: Source
    columns: tuple[str, ...] = ("title",)
    into: str = "text_vector"

    @property
    def name(self) -> str:
        """For messages."""
        return self.source.name

    def table_name(self, what: str) -> str:
        """For messages."""
        return self.source.table_name(what)

    def interactions(self) -> Iterator[pa.RecordBatch]:
        """Yields pa.RecordBatch."""
        return self.source.interactions()

    def expected_rows(self) -> int | None:
        """Those of the source."""
        return self.source.expected_rows()

    def users(self) -> pa.Table | None:
        """pa.Table or None."""
        return self.source.users()

    def items(self) -> pa.Table:
        """pa.Table, with the vectors.

        Raises:
          DataError: there is no item table, or it has no such column, or no text.
          MissingExtraError: the extra `text` is not installed.
        """
        require("wordllama")
        table = self.source.items()
        if table is None:
            raise DataError(
                f"{self.name}: TextVectors reads texts of the items, and there is no item table. Give one (`--items`), "
                "with a text column or a column of vectors."
            )
        for column in self.columns:
            if column not in table.column_names:
                message = f"{self.name}: the items have no column `{column}`."
                raise DataError(message + nearest(column, table.column_names))
        columns = self.columns or _texts(table)
        if not columns and any(map(_is_vector, table.schema.types)):
            return table
        if not columns:
            raise DataError(
                f"{self.name}: TextVectors reads texts of the items, and no column of them holds any. Received: "
                f"{table.column_names}. Add a text column, or a column of vectors (lists of numbers)."
            )
        parts = [pc.fill_null(table[column].cast(pa.string()), "") for column in columns]
        texts = pc.binary_join_element_wise(*parts, " ").to_pylist()
        return table.append_column(self.into, as_column(text_vectors(texts)))


def _texts(table: pa.Table) -> list[str]:
    """The names of the columns that hold text, without the id."""
    kinds = {f.name: f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in table.schema}
    texts = {name for name, kind in kinds.items() if is_text(kind)}
    return [name for name in table.column_names if name in texts and name != ITEM_ID]


def _is_vector(kind: pa.DataType) -> bool:
    return is_list(kind) and pa.types.is_floating(kind.value_type)


def text_vectors(texts: Iterable[str]) -> np.ndarray:
    """float32 [n, 256]: one vector of length 1 for each text; zeros for a text without words.

    Raises:
      MissingExtraError: the extra `text` is not installed.
    """
    wordllama = require("wordllama")
    # It looks for its tokenizer under another folder name than it ships; its own folder as the cache has both.
    folder = os.path.dirname(wordllama.__file__)  # type: ignore[type-var]  # a package of files has one
    model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
    vectors = np.asarray(model.embed(list(texts)), np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def as_column(vectors: np.ndarray) -> pa.ListArray:
    """Vectors [n, dim] as an Arrow column of lists; null where a vector is zero."""
    empty = pa.array(~vectors.any(axis=1))
    offsets = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1)), mask=empty)
