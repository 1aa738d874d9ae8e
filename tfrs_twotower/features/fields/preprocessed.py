"""A user's own Keras layer as a field."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.columns import HISTORY_ITEM_ID, HISTORY_TIMESTAMP, TIMESTAMP
from tfrs_twotower.configuration import layer_of
from tfrs_twotower.data.values import is_list
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features.fields.field import Field
from tfrs_twotower.features.fields.past import newest
from tfrs_twotower.features.keras_files import copy_of, read_layer
from tfrs_twotower.features.lookup import is_missing
from tfrs_twotower.features.preprocessed import Preprocessed
from tfrs_twotower.features.tensors import flat, key_dtype
from tfrs_twotower.ids import missing_id

_PAST = (HISTORY_ITEM_ID, HISTORY_TIMESTAMP)


@layer_of(Preprocessed)
class PreprocessedField(Field):
    """Field of `schema.Preprocessed`.

    Encoded: {"value": float32 [batch, dim]} for a layer without trainable weights, which then runs once before
    training; else the raw columns, {column: tensor}.
    """

    feature: Preprocessed

    def __init__(self, feature: Preprocessed, seed: int = 0) -> None:
        super().__init__(feature, seed)
        self._autocast = False  # raw numbers are not rounded under mixed precision
        self.layer = read_layer(feature.layer) if isinstance(feature.layer, str) else copy_of(feature.layer)
        self._specs: dict[str, tf.TensorSpec] = {}

    def inputs(self) -> dict[str, tf.TensorSpec]:
        return dict(self._specs)

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        """Stores the columns' types; the layer itself was adapted before."""
        self._take({name: _spec(columns, name) for name in self.columns})

    def _take(self, specs: dict[str, tf.TensorSpec]) -> None:
        """Loads the columns' types, and makes the layer's weights."""
        self._specs = specs
        # Two rows: of a single one, Keras' one-hot encodings return a vector. So the function knows no batch size.
        length = self.feature.length
        sample = {name: tf.zeros([2, length if name in _PAST else 2][: spec.shape.rank], spec.dtype)
                  for name, spec in specs.items()}
        self._preprocess = tf.function(lambda raw: self._output(raw), input_signature=[specs])
        try:
            found = self._output(sample)
        except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
            types = ", ".join(f"{name}: {spec.dtype.name}" for name, spec in specs.items())
            again = " Keras builds a model that was called before as a model of floats: pass a new one." if (
                "Cast string" in str(error)) else ""
            raise ConfigError(f"The layer of `{self.name}` cannot be called with {types}: {error}{again}") from error
        if found.shape.rank != 2 or not found.dtype.is_floating:
            raise ConfigError(
                f"The layer of `{self.name}` must return a vector of floats for each row. Received: {found.dtype.name} "
                f"{list(found.shape)} for two rows. End it with Reshape((1,)) if it gives one number per row, with an "
                "Embedding or CategoryEncoding if it gives a whole number, with a pooling if it gives a list."
            )
        self._fixed = not self.layer.trainable_weights

    def _output(self, raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return self.layer(raw[self.feature.inputs] if isinstance(self.feature.inputs, str) else raw)

    def beside_past(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The raw columns without those of the user's history, as `encode` needs them later."""
        return {name: value for name, value in raw.items() if name in self._specs}

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        raw = {name: raw[name] for name in self._specs}
        if self.feature.reads_past:
            names = [name for name in _PAST if name in raw]
            pasts = [(raw[name], missing_id(raw[name].dtype)) for name in names]
            missing = is_missing(raw[HISTORY_ITEM_ID])
            raw.update(zip(names, newest(pasts, missing, self.feature.length, whole=True)))
        return {"value": tf.cast(self._preprocess(raw), tf.float32)} if self._fixed else raw

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        return encoded["value"] if self._fixed else tf.cast(self._output(encoded), tf.float32)

    def state(self) -> dict[str, np.ndarray]:
        kinds = {name: f"{spec.dtype.name} {spec.shape.rank}" for name, spec in self._specs.items()}
        return {name: np.array(kind) for name, kind in kinds.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        kinds = {name: str(kind).split() for name, kind in state.items()}
        self._take({name: tf.TensorSpec([None] * int(rank), tf.as_dtype(dtype))
                    for name, (dtype, rank) in kinds.items()})


def _spec(columns: Mapping[str, pa.Array | pa.ChunkedArray], name: str) -> tf.TensorSpec:
    """The `tf.TensorSpec` of a raw column, by its Arrow type; `history_item_id` comes as the items' ids."""
    if name == HISTORY_TIMESTAMP:
        return tf.TensorSpec([None, None], tf.int64)
    array = flat(columns[name])
    kind = array.type.value_type if is_list(array.type) else array.type
    shape = [None, None] if is_list(array.type) or name == HISTORY_ITEM_ID else [None]
    if pa.types.is_temporal(kind) or name == TIMESTAMP:
        return tf.TensorSpec(shape, tf.int64)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return tf.TensorSpec(shape, tf.float32)
    return tf.TensorSpec(shape, key_dtype(array, name))
