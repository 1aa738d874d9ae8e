"""Several kinds of events as tasks: a head for each, beside the retrieval loss."""

from typing import Annotated, Any

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features import fingerprints
from tfrs_twotower.models.auxiliary import AuxiliaryLoss
from tfrs_twotower.models.objectives import Positives
from tfrs_twotower.models.two_tower import TwoTowerModel
from tfrs_twotower.ranges import Positive


@config
class EventHeads(AuxiliaryLoss):
    """Whether an event is of some kind, given that it happened: a head for each kind (cart, purchase, …).

    Head e computes P(e | u, v) = σ(⟨u ⊙ w_e, v⟩ / τ + b_e), with a weight for each dimension and a bias. It is trained
    on the positives of the batch: 1 if the event's kind is e, else 0. So if two items have as many clicks, the towers
    learn which one is bought. The heads start at 0 and are not served, but they train the towers.

    Attributes:
      kinds: values of the log's `event` column.
      weight: of this loss, the sum over the heads of the mean cross-entropy, beside the retrieval loss.
    """

    kinds: tuple[str, ...]
    weight: Annotated[Positive, "Without it leave the heads out."] = 0.1

    def __post_init__(self) -> None:
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ConfigError(invalid("EventHeads.kinds", "name a kind or more, each once", self.kinds, "Name them."))


@layer_of(EventHeads)
class EventHeadsLoss(tf.keras.layers.Layer):
    """Auxiliary loss of `EventHeads`; `seed` is not used, as the heads start at 0."""

    def __init__(self, settings: EventHeads, seed: int = 0) -> None:
        super().__init__(name="event_heads")
        self._autocast = False  # scores are float32 under mixed precision too
        self._settings = settings
        self._kinds = fingerprints(tf.constant(settings.kinds))
        self._heads = None

    def call(
        self, model: TwoTowerModel, batch: dict[str, Any], queries: tf.Tensor, candidates: tf.Tensor,
        positives: Positives, training: bool = False,
    ) -> tf.Tensor:
        """See `models/auxiliary.py`; queries: [n, dim]."""
        if "event" not in batch:
            raise ConfigError(
                "`EventHeads` needs one positive per row, and the batches of a sequence model have more. Leave it out."
            )
        logits = self.logits(queries, candidates) / model.objective.temperature.value() + self._bias
        of_kind = tf.cast(batch["event"][:, tf.newaxis] == self._kinds, tf.float32)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(of_kind, logits)
        return self._settings.weight * tf.reduce_sum(tf.reduce_mean(losses, axis=0))

    def logits(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """⟨u ⊙ w_e, v⟩ of pairs [n, dim]: float32 [n, kinds]."""
        if self._heads is None:
            kinds = len(self._settings.kinds)
            self._heads = self.add_weight("heads", (queries.shape[-1], kinds), initializer="zeros")
            self._bias = self.add_weight("bias", (kinds,), initializer="zeros")
        return tf.matmul(tf.cast(queries * candidates, tf.float32), self._heads)
