"""The two-tower retrieval model."""

import tensorflow as tf
import tensorflow_recommenders as tfrs

# `fit` looks for this text in the error of a step whose loss or gradients are not finite.
NOT_FINITE = "two-tower-step-not-finite"


class TwoTowerModel(tfrs.Model):
    """A query tower and a candidate tower, trained so that ⟨u, v⟩ ranks what the user took next.

    A training batch is a dict:
      query: {field name: encoded} for the query tower, [batch, ...]
      candidate: {field name: encoded} for the candidate tower, [batch, ...]
      candidate_id: int32 [batch], the catalogue row of each positive
      known_positives: int32 [batch, any], other catalogue rows that the row's user took; −1 pads
      weight: float32 [batch]

    The optimizer's step is refused, with nothing written, when the loss or a gradient is not finite.
    """

    def __init__(self, query_tower, candidate_tower, task):
        super().__init__(name="two_tower")
        self.query_tower = query_tower
        self.candidate_tower = candidate_tower
        self.task = task
        self.mean_loss = tf.keras.metrics.Mean("loss")

    def call(self, batch, training=False):
        """Returns (u, v): [batch, dim] each."""
        return (
            self.query_tower(batch["query"], training=training),
            self.candidate_tower(batch["candidate"], training=training),
        )

    def compute_loss(self, batch, training=False):
        """The task's loss over the in-batch candidates: a scalar."""
        query, candidate = self(batch, training=training)
        return self.task(
            query,
            candidate,
            sample_weight=batch["weight"],
            candidate_ids=batch["candidate_id"],
            known_positives=batch["known_positives"],
            compute_metrics=False,
            training=training,
        )

    def train_step(self, batch):
        """One optimizer step."""
        with tf.GradientTape() as tape:
            loss = self.compute_loss(batch, training=True)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        norm = tf.linalg.global_norm([g for g in gradients if g is not None])
        finite = tf.debugging.Assert(tf.math.is_finite(loss + norm), [NOT_FINITE, loss, norm], name="finite")
        # `Assert` returns an op in a graph and None in eager mode, where it has raised already.
        with tf.control_dependencies([finite] if finite is not None else []):
            self.optimizer.apply_gradients(zip(gradients, variables))
        self.mean_loss.update_state(loss)
        return {"loss": self.mean_loss.result()}
