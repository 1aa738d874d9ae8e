"""A feature that is a user's own Keras layer or model."""

from typing import Any

import tensorflow as tf

from tfrs_twotower import columns as names
from tfrs_twotower.configuration import config
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features.kinds import Feature
from tfrs_twotower.ranges import Count


@config
class Preprocessed(Feature):
    """Columns through a Keras layer or model of your own, such as `StringLookup` and then `Embedding`.

    The layer turns raw columns into float32 [batch, any]. It gets text as string, whole numbers and times as int64,
    numbers as float32, and lists padded at the end. A missing value is "", −1 or NaN. Adapt its preprocessing layers
    before you pass it; training changes the trainable weights. `history_item_id` and `history_timestamp` are the newest
    `length` events of a query's history, [batch, length], oldest first and padded at the end.

    Attributes:
      inputs: a column's name: the layer is called with its tensor. A tuple of names: with a dictionary of tensors.
      layer: a `tf.keras.layers.Layer` or `tf.keras.Model`, or the path of a `.keras` file of one. A run keeps it as a
        file. A class of your own must be importable, or be registered with Keras.
      length: the number of the newest events that it reads.
    """

    inputs: str | tuple[str, ...]
    layer: Any
    length: Count = 50

    def __post_init__(self) -> None:
        if not self.columns or not all(self.columns):
            raise ConfigError(invalid("Preprocessed.inputs", "name a column or more", self.inputs, "Name one."))
        if names.HISTORY_TIMESTAMP in self.columns and not self.reads_past:
            rule, way_out = "also name history_item_id, the items of these times", "Name both."
            raise ConfigError(invalid("Preprocessed.inputs", rule, self.inputs, way_out))
        named = isinstance(self.layer, str) and self.layer.endswith(".keras")
        if not named and not isinstance(self.layer, tf.keras.layers.Layer):
            rule = "be a Keras layer or model, or the path of a .keras file"
            raise ConfigError(invalid("Preprocessed.layer", rule, self.layer, "See docs/own_parts.md."))

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.inputs,) if isinstance(self.inputs, str) else tuple(self.inputs)

    @property
    def name(self) -> str:
        return "preprocessed_" + "_and_".join(map(names.safe, self.columns))

    @property
    def reads_past(self) -> bool:
        """Whether it reads the user's history."""
        return names.HISTORY_ITEM_ID in self.columns
