"""Several kinds of events as tasks: a head for each, beside the retrieval loss."""

from typing import Annotated, Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features import fingerprints
from tfrs_twotower.models.auxiliary import AuxiliaryLoss
from tfrs_twotower.models.objectives import Positives
from tfrs_twotower.models.two_tower import TwoTowerModel
from tfrs_twotower.ranges import Positive

_DWELL = "dwell"


@config
class EventHeads(AuxiliaryLoss):
    """Whether an event is of some kind, given that it happened: a head for each kind (cart, purchase, …).

    Head e computes P(e | u, v) = σ(⟨u ⊙ w_e, v⟩ / τ + b_e), with a weight for each dimension and a bias. It is trained
    on the positives of the batch: 1 if the event's kind is e, else 0. So if two items have as many clicks, the towers
    learn which one is bought. The heads start at 0. They train the towers, and a request may weigh them: `objectives`
    adds weight · ⟨u ⊙ w_e, v⟩ / τ to the score of an item, for each kind e. This is ⟨u ⊙ (1 + Σ weight · w_e), v⟩ / τ:
    one query vector, so the same index answers every mix.

    Attributes:
      kinds: values of the log's `event` column.
      dwell: seconds; a further head, `dwell`, learns whether the log's column `dwell` has at least so many. None: no
        such head. An event without a dwell time counts as a short one.
      weight: of this loss, the sum over the heads of the mean cross-entropy, beside the retrieval loss.
    """

    kinds: tuple[str, ...] = ()
    dwell: Positive | None = None
    weight: Annotated[Positive, "Without it leave the heads out."] = 0.1

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ConfigError(invalid("EventHeads.kinds", "name a kind or more, each once", self.kinds, "Name them."))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the heads."""
        return self.kinds if self.dwell is None else (*self.kinds, _DWELL)

    def labels(self) -> tuple[str, ...]:
        """See `AuxiliaryLoss`."""
        return () if self.dwell is None else (_DWELL,)


@layer_of(EventHeads)
class EventHeadsLoss(tf.keras.layers.Layer):
    """Auxiliary loss of `EventHeads`; `seed` is not used, as the heads start at 0."""

    def __init__(self, settings: EventHeads, seed: int = 0) -> None:
        super().__init__(name="event_heads")
        self._autocast = False  # scores are float32 under mixed precision too
        self._settings = settings
        self._kinds = fingerprints(tf.constant(settings.kinds, tf.string))
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
        if self._settings.dwell is not None:
            long = tf.cast(batch["labels"][_DWELL] >= self._settings.dwell, tf.float32)
            of_kind = tf.concat([of_kind, long[:, tf.newaxis]], axis=1)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(of_kind, logits)
        return self._settings.weight * tf.reduce_sum(tf.reduce_mean(losses, axis=0))

    def heads(self) -> dict[str, np.ndarray]:
        """{head: w, float32 [dim]}; {} before the first step."""
        return {} if self._heads is None else dict(zip(self._settings.names, self._heads.numpy().T))

    def logits(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """⟨u ⊙ w_e, v⟩ of pairs [n, dim]: float32 [n, heads]."""
        if self._heads is None:
            count = len(self._settings.names)
            self._heads = self.add_weight("heads", (queries.shape[-1], count), initializer="zeros")
            self._bias = self.add_weight("bias", (count,), initializer="zeros")
        return tf.matmul(tf.cast(queries * candidates, tf.float32), self._heads)


def heads_of(model: TwoTowerModel) -> dict[str, np.ndarray]:
    """{head: w, float32 [dim]} of a model's `EventHeads`; {} without them."""
    found = {}
    for layer in model.auxiliary:
        if isinstance(layer, EventHeadsLoss):
            found.update(layer.heads())
    return found
