"""DCN-v2: cross layers (Wang et al. 2021, "DCN V2")."""

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.features import derive_seed
from tfrs_twotower.ranges import Count
from tfrs_twotower.towers.encoder import Encoder


@config
class DCN(Encoder):
    """Layers of x ← x₀ ⊙ (W x + b) + x, x₀ the fields' embeddings side by side.

    Attributes:
      layers: each raises the degree of the products of features by one.
      rank: of W, which is then two thin matrices; None for a full one.
    """

    layers: Count = 2
    rank: Count | None = None


@layer_of(DCN)
class DCNEncoder(tf.keras.layers.Layer):
    """Encoder of `DCN`, by TFRS's `Cross`.

    Args:
      settings: a `DCN`.
      seed: of the weights.
    """

    def __init__(self, settings: DCN, seed: int = 0) -> None:
        super().__init__(name="dcn")
        self.keeps_zero = True
        self._layers = []
        for number in range(settings.layers):
            start = tf.keras.initializers.GlorotUniform(seed=derive_seed(seed, f"cross/{number}"))
            self._layers.append(tfrs.layers.feature_interaction.Cross(
                projection_dim=settings.rank, kernel_initializer=start, name=f"cross_{number}"
            ))

    def call(self, embeddings: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        """list of [batch, dᵢ], one for each field → [batch, Σ dᵢ]."""
        first = values = tf.concat(embeddings, axis=-1)
        for layer in self._layers:
            values = layer(first, values)
        return values
