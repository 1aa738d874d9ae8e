"""A vector of an item in the graph of users and items, computed once from training events."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.columns import TAKEN_BY
from tfrs_twotower.configuration import layer_of
from tfrs_twotower.features.fields.field import Field
from tfrs_twotower.features.fields.keys import Keys
from tfrs_twotower.features.graph import aligned, item_vectors
from tfrs_twotower.features.kinds import GraphVector
from tfrs_twotower.features.lookup import grown
from tfrs_twotower.features.tensors import flat, key_tensor, list_lengths


@layer_of(GraphVector)
class GraphVectorField(Keys, Field):
    """Field of `schema.GraphVector`. Encoded: {"vector": float32 [batch, factors]}, zeros for an item not learned."""

    feature: GraphVector

    def inputs(self) -> dict[str, tf.TensorSpec]:
        return {self.feature.column: tf.TensorSpec([None], self.key_dtype)}

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        name = self.feature.column
        self.learn(columns, name, counts)
        lists = flat(columns[TAKEN_BY])
        lengths = np.where(np.asarray(counts) > 0, list_lengths(lists, TAKEN_BY), 0)
        kept = np.repeat(np.asarray(counts) > 0, list_lengths(lists, TAKEN_BY))
        users = np.unique(lists.flatten().to_numpy()[kept], return_inverse=True)[1]
        ids = key_tensor(columns[name], name)
        rows = np.repeat(self.index(ids).numpy(), lengths)
        self._set(item_vectors(users, rows - 1, self.feature.factors, self.feature.layers, self.seed))

    def grow(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        """See `Field.grow`. The grown graph is factorised; its vectors are rotated to the earlier basis."""
        known, earlier = self.vocabulary, self._vectors.numpy()[1:]
        self.adapt(columns, counts)
        both = grown(known, self.vocabulary)
        drawn = self._vectors.numpy()[self.vocabulary(tf.constant(both.get_vocabulary(False)))]
        self.vocabulary = both
        self._set(aligned(drawn, earlier))

    def _set(self, vectors: np.ndarray) -> None:
        """vectors: [size, factors], in the vocabulary's order."""
        self._vectors = tf.Variable(np.pad(vectors, [(1, 0), (0, 0)]), trainable=False, name="vectors")

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"vector": tf.gather(self._vectors, self.index(raw[self.feature.column]))}

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        self._kernel = self.kernel(self.feature.factors, self.feature.dim)
        super().build(input_shape)

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        return encoded["vector"] @ self._kernel

    def state(self) -> Mapping[str, np.ndarray | np.number]:
        return {**super().state(), "vectors": self._vectors.numpy()[1:]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self._set(state["vectors"])
