"""The plain encoder: the fields' embeddings side by side, then dense layers."""

from collections.abc import Sequence
from typing import Annotated, Literal

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features import derive_seed
from tfrs_twotower.ranges import Count, DropoutRate
from tfrs_twotower.towers.encoder import Encoder


@config
class MLP(Encoder):
    """Dense layers, each followed by normalisation, activation and dropout.

    Attributes:
      widths: units of each layer; none leaves the embeddings as they are.
      activation: a Keras activation by name.
      normalisation: `none`, `layer` or `batch`.
      dropout: share of each layer's outputs that training drops.
    """

    widths: Annotated[tuple[Count, ...], "Leave it out."] = (128,)
    activation: str = "relu"
    normalisation: Literal["none", "layer", "batch"] = "none"
    dropout: DropoutRate = 0.0

    def __post_init__(self) -> None:
        try:
            tf.keras.activations.get(self.activation)
        except ValueError as error:
            rule, way_out = "be a Keras activation", "For example relu, gelu or tanh."
            raise ConfigError(invalid("MLP.activation", rule, self.activation, way_out)) from error


_NORMALISATIONS = {
    "none": None,
    "layer": tf.keras.layers.LayerNormalization,
    "batch": tf.keras.layers.BatchNormalization,
}


class Dropout(tf.keras.layers.Layer):
    """In training sets a share of the values to 0 and scales the others by 1 / (1 − rate).

    Keras's own layer draws from a state that a checkpoint does not hold. With it, a resumed run would differ
    from an uninterrupted one.

    Args:
      rate: the share, in [0, 1).
      seed: of this layer's own `tf.random.Generator`.
    """

    def __init__(self, rate: float, seed: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.rate = rate
        self._generator = tf.random.Generator.from_seed(seed, alg="philox")

    def call(self, values: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or not self.rate:
            return values
        kept = self._generator.uniform(tf.shape(values)) >= self.rate
        return tf.where(kept, values / (1.0 - self.rate), 0.0)


@layer_of(MLP)
class MLPEncoder(tf.keras.layers.Layer):
    """Encoder of `MLP`.

    Args:
      settings: an `MLP`.
      seed: of weights and dropout.
    """

    def __init__(self, settings: MLP, seed: int = 0) -> None:
        super().__init__(name="mlp")
        self.keeps_zero = self.is_linear = not settings.widths
        self._layers = []
        for number, width in enumerate(settings.widths):
            part = derive_seed(seed, f"mlp/{number}")
            glorot = tf.keras.initializers.GlorotUniform(seed=part)
            dense = tf.keras.layers.Dense(width, kernel_initializer=glorot, name=f"dense_{number}")
            self._layers.append(dense)
            normalisation = _NORMALISATIONS[settings.normalisation]
            if normalisation:
                self._layers.append(normalisation(name=f"normalisation_{number}"))
            self._layers.append(tf.keras.layers.Activation(settings.activation, name=f"activation_{number}"))
            dropout_seed = derive_seed(part, "dropout")
            self._layers.append(Dropout(settings.dropout, dropout_seed, name=f"dropout_{number}"))

    def call(self, embeddings: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        """list of [batch, dᵢ], one for each field → [batch, last width, or Σ dᵢ]."""
        values = tf.concat(embeddings, axis=-1)
        for layer in self._layers:
            if isinstance(layer, (Dropout, tf.keras.layers.BatchNormalization)):
                values = layer(values, training=training)
            else:
                values = layer(values)
        return values
