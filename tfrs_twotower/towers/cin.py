"""CIN: the compressed interaction network (Lian et al. 2018, "xDeepFM")."""

from collections.abc import Sequence

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.features import derive_seed
from tfrs_twotower.ranges import Count, Counts
from tfrs_twotower.towers.encoder import Encoder


@config
class CIN(Encoder):
    """Elementwise products of the fields' embeddings; each layer raises the degree by one.

    Layer k makes feature map h of its products X^k_h = Σ_{i,j} W^{k,h}_{ij} (X^{k−1}_i ∘ X⁰_j), with X⁰ the fields'
    embeddings, each mapped to `dim` dimensions by its own linear map. The output is the sum over `dim` of every
    feature map of every layer. This is as published, except for the linear maps: in the paper all embeddings have the
    same length. No activation follows a layer, which the authors found best.

    Attributes:
      maps: feature maps of each layer.
      dim: dimensions of a field in X⁰.
    """

    maps: Counts = (32, 32)
    dim: Count = 16


@layer_of(CIN)
class CINEncoder(tf.keras.layers.Layer):
    """Encoder of `CIN`.

    Args:
      settings: a `CIN`.
      seed: of the weights.
    """

    def __init__(self, settings: CIN, seed: int = 0) -> None:
        super().__init__(name="cin")
        self._settings, self._seed = settings, seed

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        """input_shape: of each field's embedding."""
        fields, before = len(input_shape), len(input_shape)
        self._kernels = [
            self._weight(f"field_{number}", (shape[-1], self._settings.dim)) for number, shape in enumerate(input_shape)
        ]
        self._layers = []
        for number, count in enumerate(self._settings.maps):
            self._layers.append(self._weight(f"layer_{number}", (before * fields, count)))
            before = count
        super().build(input_shape)

    def call(self, embeddings: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        """list of [batch, dᵢ], one for each field → [batch, Σ maps]."""
        first = values = tf.stack([e @ kernel for e, kernel in zip(embeddings, self._kernels)], axis=1)
        sums = []
        for layer in self._layers:
            weight = tf.reshape(layer, [values.shape[1], first.shape[1], -1])
            values = tf.einsum("bid,bjd,ijh->bhd", values, first, weight)
            sums.append(tf.reduce_sum(values, axis=-1))
        return tf.concat(sums, axis=-1)

    def _weight(self, name: str, shape: tuple[int, int]) -> tf.Variable:
        glorot = tf.keras.initializers.GlorotUniform(seed=derive_seed(self._seed, name))
        return self.add_weight(name, shape, initializer=glorot)
