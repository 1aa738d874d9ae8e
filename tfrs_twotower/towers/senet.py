"""SENet: weighs the fields of each example, before another encoder reads them."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.features import derive_seed
from tfrs_twotower.ranges import Count
from tfrs_twotower.towers.encoder import Encoder, build_encoder
from tfrs_twotower.towers.mlp import MLP


@config
class SENet(Encoder):
    """Fields weighted by σ(W₂ relu(W₁ z)), z the mean of each field's embedding.

    Squeeze-and-excitation (Hu et al. 2018) over fields as in FiBiNET (Huang et al. 2019). The outer function is the
    former's sigmoid, so that no field is lost for good and the weights can be read as shares.

    Attributes:
      reduction: the inner layer has the number of fields divided by this, and at least one unit.
      encoder: configuration of the encoder that reads the weighted fields.
    """

    reduction: Count = 2
    encoder: Any = MLP()


@layer_of(SENet)
class SENetEncoder(tf.keras.layers.Layer):
    """Encoder of `SENet`.

    Args:
      settings: a `SENet`.
      seed: of weights and dropout.
    """

    def __init__(self, settings: SENet, seed: int = 0) -> None:
        super().__init__(name="senet")
        self._reduction, self._seed = settings.reduction, seed
        self._encoder = build_encoder(settings.encoder, derive_seed(seed, "encoder"))
        self.keeps_zero = getattr(self._encoder, "keeps_zero", False)

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        """input_shape: of each field's embedding."""
        fields = len(input_shape)
        self._squeezed = self._dense(max(1, fields // self._reduction), "relu", "squeezed")
        self._excited = self._dense(fields, "sigmoid", "excited")
        super().build(input_shape)

    def _dense(self, units: int, activation: str, name: str) -> tf.keras.layers.Dense:
        glorot = tf.keras.initializers.GlorotUniform(seed=derive_seed(self._seed, name))
        return tf.keras.layers.Dense(units, activation, kernel_initializer=glorot, name=name)

    def field_weights(self, embeddings: Sequence[tf.Tensor]) -> tf.Tensor:
        """list of [batch, dᵢ], one for each field → [batch, fields] in (0, 1): the factor of each field."""
        means = tf.stack([tf.reduce_mean(e, axis=-1) for e in embeddings], axis=1)
        return self._excited(self._squeezed(means))

    def call(self, embeddings: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        """list of [batch, dᵢ], one for each field → the inner encoder's output."""
        weights = tf.split(self.field_weights(embeddings), len(embeddings), axis=1)
        return self._encoder([w * e for w, e in zip(weights, embeddings)], training=training)
