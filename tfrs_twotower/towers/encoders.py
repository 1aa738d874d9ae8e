"""The encoders that a tower can have. To add one: one file, one line here, one golden entry."""

from tfrs_twotower.errors import ConfigError, nearest
from tfrs_twotower.towers.gru4rec import GRU4Rec, GRU4RecEncoder
from tfrs_twotower.towers.hstu import HSTU, HSTUEncoder
from tfrs_twotower.towers.mlp import MLP, MLPEncoder
from tfrs_twotower.towers.sasrec import SASRec, SASRecEncoder

# configuration: layer(configuration, seed), whose call takes a list of [batch, dᵢ] field embeddings and
# `training`, and returns [batch, any] or [batch, interests, any].
ENCODERS = {
    MLP: MLPEncoder,
    GRU4Rec: GRU4RecEncoder,
    SASRec: SASRecEncoder,
    HSTU: HSTUEncoder,
}


def build_encoder(config, seed=0):
    """The layer of an encoder's configuration.

    Raises:
      ConfigError: no encoder has such a configuration.
    """
    if type(config) not in ENCODERS:
        name = type(config).__name__
        raise ConfigError(f"`{name}` configures no encoder." + nearest(name, [c.__name__ for c in ENCODERS]))
    return ENCODERS[type(config)](config, seed)
