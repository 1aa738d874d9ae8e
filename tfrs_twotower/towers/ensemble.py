"""Several towers side by side, as one tower."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import Field
from tfrs_twotower.towers.tower import Tower


class EnsembleTower(tf.keras.layers.Layer):
    """The concatenated, weighted vectors of several towers of one side.

    Reference: Huang et al. 2020, "Embedding-based retrieval in Facebook search", embedding ensemble by weighted
    concatenation. Each part is multiplied by √w in both ensembles, with Σ w = 1, so the inner product of two
    ensemble vectors is Σ w·⟨u, v⟩ over the members: one index serves all of them. Unit vectors give a unit vector.

    Args:
      towers: `Tower`s over the same features, which share no weights.
      weights: above 0, one per tower.
      name: name of the layer.
    """

    def __init__(self, towers: Sequence[Tower], weights: Sequence[float], name: str = "tower") -> None:
        super().__init__(name=name)
        self.towers = list(towers)
        self.encoder = None
        self.user_table = None  # each member has one of its own
        self.dim = sum(tower.dim for tower in towers)
        self._roots = [(weight / sum(weights)) ** 0.5 for weight in weights]

    @property
    def fields(self) -> list[Field]:
        """The fields of the first tower; the other towers' fields encode in the same way."""
        return self.towers[0].fields

    def inputs(self) -> dict[str, tf.TensorSpec]:
        """As `Tower.inputs`."""
        return self.towers[0].inputs()

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, dict[str, tf.Tensor]]:
        """As `Tower.encode`."""
        return self.towers[0].encode(raw)

    def call(self, encoded: Mapping[str, Mapping[str, tf.Tensor]], training: bool = False) -> tf.Tensor:
        """Result of `encode` → [batch, Σ dim]."""
        vectors = [tower(encoded, training=training) for tower in self.towers]
        if any(vector.shape.rank != 2 for vector in vectors):
            raise ConfigError("A member of an ensemble must give one vector per query. Use another encoder for it.")
        return tf.concat([root * vector for root, vector in zip(self._roots, vectors)], axis=-1)

    def split(self, vectors: tf.Tensor) -> list[tf.Tensor]:
        """The members' own vectors, [batch, dim] each, of ensemble vectors [batch, Σ dim]."""
        parts = tf.split(vectors, [tower.dim for tower in self.towers], axis=-1)
        return [part / root for root, part in zip(self._roots, parts)]

    def state(self) -> dict[str, Mapping[str, np.ndarray | np.number]]:
        """As `Tower.state`: the same for all members."""
        return self.towers[0].state()

    def load_state(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """As `Tower.load_state`, for all members."""
        for tower in self.towers:
            tower.load_state(state)
