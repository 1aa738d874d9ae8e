"""The encoder of a tower that is one model of the user's own."""

from collections.abc import Sequence

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.towers.encoder import Encoder, VectorEncoder


@config
class Identity(Encoder):
    """The one feature's embedding is the tower's vector: for a `Preprocessed` that is a whole tower."""


@layer_of(Identity)
class IdentityEncoder(VectorEncoder):
    """Encoder of `Identity`.

    Args:
      settings: an `Identity`.
      seed: not read; nothing is drawn.
      dim: length of the vector.
    """

    def __init__(self, settings: Identity, seed: int, dim: int) -> None:
        super().__init__(name="identity")
        self._autocast = False  # the vector is the output of the user's model, in its precision
        self._dim = dim

    def call(self, embeddings: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        """[[batch, dim]] → [batch, dim].

        Raises:
          ConfigError: there is not one embedding, or it has another length.
        """
        lengths = [getattr(embedding, "shape", [None])[-1] for embedding in embeddings]
        if lengths != [self._dim]:
            rule = "be the length of the one feature's embedding with Identity encoders"
            raise ConfigError(invalid("model.dim", rule, self._dim, f"The embeddings' lengths: {lengths}."))
        return embeddings[0]
