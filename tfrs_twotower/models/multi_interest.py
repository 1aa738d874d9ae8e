"""The two-tower model whose queries are several vectors."""

from typing import Any

import tensorflow as tf

from tfrs_twotower.models.objectives import Positives
from tfrs_twotower.models.two_tower import TwoTowerModel


class MultiInterestTwoTower(TwoTowerModel):
    """A `TwoTowerModel` whose query tower gives [batch, interests, dim].

    In training, a row's interests become one vector by label-aware attention: the encoder's `attend` weighs
    them by their scores with the row's positive (Li et al. 2019). In search, the best interest counts.
    """

    def pairs(self, batch: dict[str, Any], training: bool = False) -> tuple[tf.Tensor, tf.Tensor, Positives]:
        interests, candidates, positives = super().pairs(batch, training)
        scores = tf.einsum("bid,bd->bi", interests, candidates)
        temperature = tf.cast(self.objective.temperature.value(), scores.dtype)
        used = self.query_tower.encoder.used(self.query_tower, batch["query"])
        weights = self.query_tower.encoder.attend(scores / temperature, used)
        return tf.einsum("bi,bid->bd", weights, interests), candidates, positives
