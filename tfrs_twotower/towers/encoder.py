"""The base of the encoders of a tower."""

from typing import ClassVar

import tensorflow as tf

from tfrs_twotower.configuration import Layered
from tfrs_twotower.errors import ConfigError, invalid, nearest


class Encoder(Layered):
    """Base of the encoders' configurations. An encoder lies between a tower's fields and its linear projection.

    Its layer is made as `layer(configuration, seed)`. The layer's call takes a list of [batch, dᵢ] field embeddings and
    `training`, and returns [batch, any]. `SequenceEncoder`, `InterestEncoder` and `VectorEncoder` have other contracts.
    A layer that maps zeros to zeros sets `keeps_zero = True`.

    Attributes:
      side: "query" or "candidate", of an encoder that is for one side alone.
    """

    side: ClassVar[str | None] = None


class VectorEncoder(tf.keras.layers.Layer):
    """Base of the encoders whose output is the tower's vector: no projection and no normalisation follow.

    Each number of their vectors has a meaning of its own, which a projection would destroy. They are made as
    `layer(configuration, seed, dim)`, and their call returns [batch, dim].

    If an encoder differs between the two sides, its configuration has a `side`: "query" or "candidate".
    """


def build_encoder(config: Encoder, seed: int = 0, dim: int | None = None) -> tf.keras.layers.Layer:
    """The layer of an encoder's configuration.

    Args:
      config: an `Encoder`.
      seed: of weights and dropout.
      dim: length of the vector, for a `VectorEncoder`.

    Raises:
      ConfigError: it is no `Encoder`, or it is a `VectorEncoder` inside another encoder.
    """
    _check(config)
    if not makes(config, VectorEncoder):
        return config.build(seed)
    if dim is None:
        name = type(config).__name__
        raise ConfigError(f"`{name}` makes the vector of a tower or a branch; no encoder can be put around it.")
    return config.build(seed, dim)


def makes(config: Encoder, layer: type) -> bool:
    """Whether the layer of an encoder's configuration is of this class; False if a function makes the layer."""
    return isinstance(config.layer_class, type) and issubclass(config.layer_class, layer)


def check_encoder(config: Encoder, side: str | None, where: str) -> None:
    """Raises `ConfigError` unless `config`, named `where` in the message, configures an encoder of this side."""
    _check(config)
    if config.side not in (None, side):
        raise ConfigError(invalid(where, f"be an encoder of the {side}", config, f"This one is of the {config.side}."))


def _check(config: object) -> None:
    if not isinstance(config, Encoder):
        name, known = type(config).__name__, [cls.__name__ for cls in Encoder.__subclasses__()]
        raise ConfigError(f"`{name}` configures no encoder." + nearest(name, known))
