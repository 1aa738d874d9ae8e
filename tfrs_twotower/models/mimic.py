"""The mimic loss of dual augmented towers (DAT, Yu et al. 2021, "A Dual Augmented Two-tower Model")."""

from typing import Any

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features import Augmented
from tfrs_twotower.losses.reduction import weighted_mean
from tfrs_twotower.models.auxiliary import AuxiliaryLoss
from tfrs_twotower.models.objectives import Positives
from tfrs_twotower.models.two_tower import TwoTowerModel
from tfrs_twotower.towers import EnsembleTower, Tower


@config
class Mimic(AuxiliaryLoss):
    """Pulls the `Augmented` vector of each side towards the other tower's vector of its positives.

    Attributes:
      query, candidate: weight of each side's part.
    """

    query: float = 0.5
    candidate: float = 0.5


@layer_of(Mimic)
class MimicLoss(tf.keras.layers.Layer):
    """Auxiliary loss of `Mimic`: the means of ‖sg(v⁺) − a_u‖² and ‖sg(u) − a_v‖² over the positives, weighted.

    sg stops the gradient: the towers do not move towards the augmented vectors, only these towards the towers.

    Args:
      settings: a `Mimic`.
      seed: not used; every auxiliary loss gets one.
    """

    def __init__(self, settings: Mimic, seed: int = 0) -> None:
        super().__init__(name="mimic")
        self._settings = settings

    def call(
        self, model: TwoTowerModel, batch: dict[str, Any], queries: tf.Tensor, candidates: tf.Tensor,
        positives: Positives, training: bool = False,
    ) -> tf.Tensor:
        """See `models/auxiliary.py`."""
        query = _augmented(model.query_tower, batch["query"], training)
        candidate = _augmented(model.candidate_tower, batch["candidate"], training)
        return (
            self._settings.query * _distance(candidates, query, positives.weight)
            + self._settings.candidate * _distance(queries, candidate, positives.weight)
        )


def _augmented(tower: Tower | EnsembleTower, encoded: dict[str, Any], training: bool) -> tf.Tensor:
    """[batch, dim]: a tower's augmented vectors. In training row 0, the unknown id's, learns from ID dropout."""
    field = next((f for f in tower.fields if isinstance(f.feature, Augmented)), None)
    if field is None:
        raise ConfigError(f"`Mimic` needs an Augmented(...) among the features of the {tower.name}. Add one.")
    if field.feature.dim != tower.dim:
        rule = f"be as long as the model's vectors, {tower.dim}"
        raise ConfigError(invalid("Augmented.dim", rule, field.feature.dim, "Set one to the other."))
    return field(encoded[field.name], training=training)


def _distance(target: tf.Tensor, own: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    return weighted_mean(tf.reduce_sum((tf.stop_gradient(target) - own) ** 2, axis=-1), weight)
