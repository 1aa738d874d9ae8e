"""Where encoders are found by their configuration. `encoders.py` lists them."""

from tfrs_twotower.errors import ConfigError, invalid, nearest
from tfrs_twotower.towers.vector_encoder import VectorEncoder

# configuration: layer(configuration, seed), whose call takes a list of [batch, dᵢ] field embeddings and
# `training`, and returns [batch, any] or [batch, interests, any]; or a `VectorEncoder`. One that makes zeros of zeros
# says so by `keeps_zero = True`.
ENCODERS: dict = {}


def build_encoder(config, seed=0, dim=None):
    """The layer of an encoder's configuration.

    Args:
      config: an instance of a key of `ENCODERS`.
      seed: from which weights and dropout derive theirs.
      dim: length of the vector, for a `VectorEncoder`.

    Raises:
      ConfigError: no encoder has such a configuration, or a `VectorEncoder` is to stand inside another encoder.
    """
    layer = _layer(config)
    if not issubclass(layer, VectorEncoder):
        return layer(config, seed)
    if dim is None:
        name = type(config).__name__
        raise ConfigError(f"`{name}` makes the vector of a tower or a branch; no encoder can stand around it.")
    return layer(config, seed, dim)


def check_encoder(config, side, where):
    """Raises `ConfigError` unless `config`, named `where` in the message, configures an encoder of this side."""
    _layer(config)
    own = getattr(config, "side", side)
    if own != side:
        raise ConfigError(invalid(where, f"be an encoder of the {side}", config, f"This one is of the {own}."))


def _layer(config):
    if type(config) not in ENCODERS:
        name = type(config).__name__
        raise ConfigError(f"`{name}` configures no encoder." + nearest(name, [c.__name__ for c in ENCODERS]))
    return ENCODERS[type(config)]
