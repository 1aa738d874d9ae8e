"""The two-tower model that learns from every event of a sequence."""

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from tfrs_twotower.models.ensemble import EnsembleObjective
from tfrs_twotower.models.objectives import CatalogueObjective, Positives, SampledObjective
from tfrs_twotower.models.two_tower import TwoTowerModel
from tfrs_twotower.towers import EnsembleTower, Tower


class SequenceTwoTower(TwoTowerModel):
    """A `TwoTowerModel` whose query tower has a sequence encoder: after each event, the next one is the positive.

    For the start state, the first event is the positive. So the start state learns to recommend to users without a
    history.

    A training batch is a dict, of b windows with e events in all, and of n = e + s positives:
      query: {field name: encoded} for the query tower: the sequence [b, length], the other fields [n, ...]
      past_id: int32 [b, length], the item row of each event; −1 pads at the end
      candidate: {field name: encoded} for the candidate tower, [n, ...]: the successor of each event, then the first
        events of s histories, which may be others than those of the windows
      candidate_id: int32 [n], its item row
      weight: float32 [n]

    Args:
      query_tower, candidate_tower, objective, auxiliary: as in `TwoTowerModel`.
      known_positives: the number of newest events up to a position that are no negatives of it.
    """

    def __init__(
        self, query_tower: Tower | EnsembleTower, candidate_tower: Tower | EnsembleTower,
        objective: SampledObjective | CatalogueObjective | EnsembleObjective,
        auxiliary: Iterable[tf.keras.layers.Layer] = (), known_positives: int = 0,
    ) -> None:
        super().__init__(query_tower, candidate_tower, objective, auxiliary)
        self._known_positives = known_positives

    def call(self, batch: dict[str, Any], training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (u, v): [n, dim] each."""
        starts = _starts(batch)
        return (
            self.query_tower.at_positions(batch["query"], starts, training=training),
            self.candidate_tower(batch["candidate"], training=training),
        )

    def pairs(self, batch: dict[str, Any], training: bool = False) -> tuple[tf.Tensor, tf.Tensor, Positives]:
        queries, candidates = self(batch, training=training)
        nothing = tf.zeros([tf.shape(queries)[0], 0], tf.int32)
        known = tf.pad(self._known(batch["past_id"]), [[0, _starts(batch)], [0, 0]], constant_values=-1)
        positives = Positives(batch["candidate_id"], batch["weight"], known, nothing)
        return queries, candidates, positives

    def _known(self, past: tf.Tensor) -> tf.Tensor:
        """int32 [n, any]: the user's items up to each event of `past` [b, length]; −1 pads."""
        events = tf.where(past >= 0)
        row, place = events[:, 0], tf.cast(events[:, 1], tf.int32)
        before = tf.range(tf.minimum(self._known_positives, tf.shape(past)[1]))
        place = place[:, tf.newaxis] - before
        known = tf.gather(tf.gather(past, row), tf.maximum(place, 0), batch_dims=1)
        return tf.where(place >= 0, known, -1)


def _starts(batch: dict[str, Any]) -> tf.Tensor:
    """The number of first events among a batch's positives."""
    return tf.size(batch["candidate_id"]) - tf.math.count_nonzero(batch["past_id"] >= 0, dtype=tf.int32)
