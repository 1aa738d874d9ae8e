"""The two-tower retrieval model."""

from collections.abc import Iterable
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_twotower.models import replicas
from tfrs_twotower.models.ensemble import EnsembleObjective
from tfrs_twotower.models.objectives import CatalogueObjective, Positives, SampledObjective
from tfrs_twotower.towers import EnsembleTower, Tower

# `fit` looks for this text in the error of a step whose loss or gradients are not finite.
NOT_FINITE = "two-tower-step-not-finite"


class TwoTowerModel(tfrs.Model):
    """A query tower and a candidate tower, trained so that ⟨u, v⟩ ranks the user's next items first.

    A training batch is a dict:
      query: {field name: encoded} for the query tower, [batch, ...]
      candidate: {field name: encoded} for the candidate tower, [batch, ...]
      candidate_id: int32 [batch], the item row of each positive
      known_positives: int32 [batch, any], other item rows that the row's user met; −1 pads
      explicit_negatives: int32 [batch, any], item rows that are negatives of this row; −1 pads
      weight: float32 [batch]
      hour: int64 [batch], all alike: since 1970, as of which candidates have their statistics, if they have some

    If the loss or a gradient is not finite, the optimizer's step is refused and writes nothing.

    Args:
      query_tower, candidate_tower: `Tower`s.
      objective: a `SampledObjective` or `CatalogueObjective`.
      auxiliary: layers that add to the loss; see `models/auxiliary.py`.
    """

    def __init__(
        self, query_tower: Tower | EnsembleTower, candidate_tower: Tower | EnsembleTower,
        objective: SampledObjective | CatalogueObjective | EnsembleObjective,
        auxiliary: Iterable[tf.keras.layers.Layer] = (),
    ) -> None:
        super().__init__(name="two_tower")
        self.query_tower = query_tower
        self.candidate_tower = candidate_tower
        self.objective = objective
        self.auxiliary = list(auxiliary)
        self.mean_loss = tf.keras.metrics.Mean("loss")

    @property
    def temperature(self) -> float:
        """τ of the scores, a float."""
        return float(self.objective.temperature.value())

    def call(self, batch: dict[str, Any], training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (u, v): [batch, dim] each."""
        return (
            self.query_tower(batch["query"], training=training),
            self.candidate_tower(batch["candidate"], training=training),
        )

    def pairs(self, batch: dict[str, Any], training: bool = False) -> tuple[tf.Tensor, tf.Tensor, Positives]:
        """The input of the objective: (queries [n, dim], candidates [n, dim], `Positives`).

        A model whose batches do not hold one positive per row overrides it.
        """
        queries, candidates = self(batch, training=training)
        positives = Positives(
            batch["candidate_id"], batch["weight"], batch["known_positives"], batch["explicit_negatives"],
            batch["hour"][0] if "hour" in batch else None, batch.get("place"),
        )
        return queries, candidates, positives

    def create_weights(self, batch: dict[str, Any]) -> None:
        """Makes all weights, also those of the auxiliary losses, so that an optimizer can hold its slots."""
        queries, candidates, positives = self.pairs(batch)
        for layer in self.auxiliary:
            layer(self, batch, queries, candidates, positives, training=False)

    def compute_loss(self, batch: dict[str, Any], training: bool = False) -> tf.Tensor:
        """The objective's loss and the auxiliary ones: a scalar.

        Under a `tf.distribute` strategy it is this replica's part: the sum over all replicas is the batch's loss.
        """
        queries, candidates, positives = self.pairs(batch, training)
        losses = [layer(self, batch, queries, candidates, positives, training=training) for layer in self.auxiliary]
        # The objective last: it advances a scheduled temperature, which the others read too.
        losses.append(self.objective(queries, candidates, positives, training=training))
        return tf.add_n(losses) * replicas.share(positives.weight)

    @tf.autograph.experimental.do_not_convert  # no layer here needs AutoGraph, which takes most of a trace's time
    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One optimizer step. Layers of your own branch on tensors by `tf.cond`, not by `if`."""
        with tf.GradientTape() as tape:
            loss = self.compute_loss(batch, training=True)
            if self.losses:  # regularisers of a user's own layers
                loss += tf.add_n(self.losses) / replicas.count()
            scaled = self.optimizer.get_scaled_loss(loss) if self._scales_loss() else loss
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        loss = replicas.total(loss)
        if self._scales_loss():  # a step whose gradients overflow is left out, and the scale lowered
            gradients, norm = self.optimizer.get_unscaled_gradients(gradients), 0.0
        else:
            gradients = [g for g, _ in self.optimizer.aggregate_gradients(zip(gradients, variables))]
            norm = tf.linalg.global_norm([g for g in gradients if g is not None])
        finite = tf.debugging.Assert(tf.math.is_finite(loss + norm), [NOT_FINITE, loss, norm], name="finite")
        # `Assert` returns an op in a graph and None in eager mode, where it has raised already.
        with tf.control_dependencies([finite] if finite is not None else []):
            self.optimizer.apply_gradients(
                zip(gradients, variables), skip_gradients_aggregation=not self._scales_loss()
            )
        self.mean_loss.update_state(loss)
        return {"loss": self.mean_loss.result()}

    def _scales_loss(self) -> bool:
        """Whether Keras wrapped the optimizer, as it does for towers that compute in float16."""
        return isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
