"""GRU4Rec: a recurrent network over the user's history (Hidasi et al. 2016)."""

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.features import SequenceEmbedding, derive_seed
from tfrs_twotower.ranges import Counts, DropoutRate
from tfrs_twotower.towers.encoder import Encoder
from tfrs_twotower.towers.mlp import Dropout
from tfrs_twotower.towers.sequence import SequenceEncoder, Tokens


@config
class GRU4Rec(Encoder):
    """Gated recurrent layers; the state after an event is the last layer's.

    Attributes:
      units: of each layer, from the first to the last.
      dropout: share of the numbers that training drops, at the input and after each layer.
    """

    units: Counts = (64,)
    dropout: DropoutRate = 0.2


@layer_of(GRU4Rec)
class GRU4RecEncoder(SequenceEncoder):
    """Encoder of `GRU4Rec`.

    Args:
      settings: a `GRU4Rec`.
      seed: of weights and dropout.
    """

    def __init__(self, settings: GRU4Rec, seed: int = 0) -> None:
        super().__init__(seed, name="gru4rec")
        self._tokens = Tokens(settings.dropout, seed)
        self._layers = []
        for number, units in enumerate(settings.units):
            part = derive_seed(seed, f"gru/{number}")
            gru = tf.keras.layers.GRU(
                units, return_sequences=True, name=f"gru_{number}",
                kernel_initializer=tf.keras.initializers.GlorotUniform(seed=part),
                recurrent_initializer=tf.keras.initializers.Orthogonal(seed=part),
            )
            dropout = Dropout(settings.dropout, derive_seed(part, "dropout"), name=f"dropout_{number}")
            self._layers.append((gru, dropout))

    def sequence(self, sequence: SequenceEmbedding, training: bool = False) -> tf.Tensor:
        states = self._tokens(sequence, training=training)
        for gru, dropout in self._layers:
            states = dropout(gru(states), training=training)
        return states
