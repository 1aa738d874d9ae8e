"""The base of the fields: a Keras layer in two halves, `encode` (no weights) and `call` (no strings)."""

import contextlib
import contextvars
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.features.kinds import Feature

LARGE = 2**22  # numbers of a table from which on memory counts more than the time to make a graph
_BOUND = 0.05
_LOADED = contextvars.ContextVar("loaded", default=False)  # see `weights_loaded_next`


def derive_seed(seed: int, name: str) -> int:
    """A seed in [0, 2³¹) that depends on `seed` and on the part's name, not on the order of building."""
    return zlib.crc32(f"{seed}/{name}".encode()) & 0x7FFFFFFF


@contextlib.contextmanager
def weights_loaded_next() -> Iterator[None]:
    """Embedding tables that are made in the block are zeros: drawing numbers for a million rows takes a second."""
    token = _LOADED.set(True)
    try:
        yield
    finally:
        _LOADED.reset(token)


class UniformTable(tf.keras.initializers.RandomUniform):
    """Keras' uniform numbers in ±0.05, drawn in a graph, whose ops write in place.

    Op by op a table takes three times its memory, and TensorFlow keeps it.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(-_BOUND, _BOUND, seed)

    def __call__(self, shape: Sequence[int], dtype: tf.DType | None = None, **part: Any) -> tf.Tensor:
        """part: of a table that is cut by rows among servers, the first row and the shape of the part."""
        drawn, shape = super().__call__, part.get("partition_shape", shape)

        def draw(rows: tf.Tensor) -> tf.Tensor:
            return drawn(rows, dtype, **{**part, "partition_shape": rows} if part else {})

        # A shape that is no tensor is a constant of the graph, and so are the numbers: a second table.
        values = tf.function(draw, autograph=False)(tf.constant(shape))
        values.set_shape(shape)
        return values

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


class Field(tf.keras.layers.Layer):
    """One feature of a tower. See ARCHITECTURE.md, "Fields and towers".

    Args:
      feature: the feature's declaration, of `features/kinds.py`.
      seed: the model's seed; the field derives its own from it and its name.
    """

    def __init__(self, feature: Feature, seed: int = 0) -> None:
        super().__init__(name=feature.name)
        self.feature = feature
        self.seed = derive_seed(seed, feature.name)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the field reads, known before `adapt`."""
        return self.feature.columns

    def inputs(self) -> dict[str, tf.TensorSpec]:
        """{column: tf.TensorSpec} of the raw inputs, known after `adapt`."""
        raise NotImplementedError

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        """Learns vocabulary or statistics. A later call replaces an earlier one.

        Args:
          columns: {column: Arrow array [n]}, at least the field's own.
          counts: int64 [n], the training events of each row; rows with 0 are ignored.
        """
        raise NotImplementedError

    def grow(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        """Adds keys that `adapt` did not know, at the end of the vocabulary. Arguments as in `adapt`.

        For an update of a trained model. Statistics do not change, since the weights fit them.
        """

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """{column: raw tensor} → {part: tensor of indices or floats}. Graph code."""
        raise NotImplementedError

    def state(self) -> Mapping[str, np.ndarray | np.number]:
        """{name: numpy array}: the state that `adapt` learned."""
        raise NotImplementedError

    # Any: an array, or a NumPy number, which a file turns into an array of no dimension.
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Loads the result of `state`, so that `encode` gives the same."""
        raise NotImplementedError

    def new_embedding(
        self, rows: int, dim: int, name: str = "embeddings",
        initializer: str | tf.keras.initializers.Initializer | None = None,
    ) -> tf.keras.layers.Embedding:
        """An `Embedding` of rows 0 … `rows` − 1, built, uniform in ±0.05 unless an initializer is given."""
        if _LOADED.get():
            initializer = "zeros"
        elif initializer is None:
            initializer = self.uniform(name) if rows * dim < LARGE else UniformTable(derive_seed(self.seed, name))
        layer = tf.keras.layers.Embedding(rows, dim, initializer, name=name, dtype=self._dtype_policy)
        layer.build(None)
        return layer

    def uniform(self, name: str) -> tf.keras.initializers.Initializer:
        """The initial values of the table with this name."""
        return tf.keras.initializers.RandomUniform(-_BOUND, _BOUND, seed=derive_seed(self.seed, name))

    def kernel(self, rows: int, dim: int, name: str = "kernel") -> tf.Variable:
        """A new weight [rows, dim] for a linear map (Glorot uniform)."""
        glorot = tf.keras.initializers.GlorotUniform(seed=derive_seed(self.seed, name))
        return self.add_weight(name, (rows, dim), initializer=glorot)


class RowField(Field):
    """A field whose value is one row of a table: encoded as {"index": int32 [batch]}.

    Attributes:
      embedding: the Keras `Embedding`.
    """

    @property
    def table(self) -> tf.Variable:
        """[rows, dim], the weights of `embedding`."""
        return self.embeddings

    @property
    def rows(self) -> int:
        """The number of table rows, with row 0 for missing and unknown."""
        raise NotImplementedError

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        self.embedding = self.new_embedding(self.rows, self.feature.dim)
        self.embeddings = self.embedding.embeddings  # the names in checkpoints
        super().build(input_shape)

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        return self.embedding(encoded["index"])
