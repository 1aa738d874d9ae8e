"""The objectives of a batch of queries and positives: against sampled negatives, or the whole catalogue."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tfrs_twotower.losses import full_softmax
from tfrs_twotower.models import replicas
from tfrs_twotower.models.retrieval import Retrieval
from tfrs_twotower.models.temperature import Temperature
from tfrs_twotower.sampling import HardNegatives, Negatives
from tfrs_twotower.towers import Tower

_BLOCK = 4096  # items embedded at a time


class Positives(NamedTuple):
    """The positives of a batch, one row per query.

    Attributes:
      rows: int32 [n], the item row of each positive.
      weight: float32 [n].
      known: int32 [n, any], other item rows that the query's user met; −1 pads.
      explicit: int32 [n, any], item rows that are known negatives of the query; −1 pads.
      hour: int64 scalar, since 1970, as of which the batch's items have their statistics; None without statistics.
      place: int32 [n], the place of each row in the batch of all replicas; None: they follow each other.
    """

    rows: tf.Tensor
    weight: tf.Tensor
    known: tf.Tensor
    explicit: tf.Tensor
    hour: tf.Tensor | None = None
    place: tf.Tensor | None = None


class Statistics(Protocol):
    """Features of items that change by the hour. `training.ItemStatistics` implements it."""

    latest: int

    def encoded(self, items: tf.Tensor, hours: tf.Tensor) -> dict[str, dict[str, tf.Tensor]]:
        """{field name: encoded} of item rows at hours, int64 [n] each: graph code."""


class ItemFeatures:
    """The encoded features of all items, so that a step can embed items that are not in the batch.

    Args:
      encoded: {field name: {part: array [items, ...]}}.
      statistics: the `Statistics` of the items, or None.
    """

    def __init__(
        self, encoded: Mapping[str, Mapping[str, np.ndarray]], statistics: Statistics | None = None
    ) -> None:
        self._encoded = tf.nest.map_structure(tf.constant, encoded)
        self.statistics = statistics

    def rows(
        self, rows: np.ndarray | tf.Tensor, hour: int | tf.Tensor | None = None
    ) -> dict[str, dict[str, tf.Tensor]]:
        """The features of item rows: graph code.

        Args:
          rows: int32, of any shape; with statistics [n].
          hour: since 1970, as of which statistics are: a scalar; None: the end of training.
        """
        found = tf.nest.map_structure(lambda values: tf.gather(values, rows), self._encoded)
        if self.statistics is None:
            return found
        rows = tf.cast(rows, tf.int64)
        hour = tf.cast(self.statistics.latest if hour is None else hour, tf.int64)
        return {**found, **self.statistics.encoded(rows, tf.fill(tf.shape(rows), hour))}


class SampledObjective(tf.keras.layers.Layer):
    """A loss against the candidates of the negative sources.

    Args:
      task: a `Retrieval` task, without `logq`; its `in_batch` agrees with the sources.
      negatives: a `Negatives`.
      items: an `ItemFeatures`.
      candidate_tower: embeds drawn items.
      hard: a `HardNegatives` or None.
      explicit: whether the positives' explicit negatives are used.
    """

    def __init__(
        self, task: Retrieval, negatives: Negatives, items: ItemFeatures, candidate_tower: Tower,
        hard: HardNegatives | None = None, explicit: bool = False,
    ) -> None:
        super().__init__(name="objective")
        self._autocast = False  # scores are float32 under mixed precision too
        self._vectors = tf.function(self._embed, autograph=False)
        self.task, self.negatives, self.hard, self._explicit = task, negatives, hard, explicit
        self.items, self._tower = items, candidate_tower

    @property
    def temperature(self) -> Temperature:
        """The `Temperature` of the scores."""
        return self.task.temperature

    @property
    def catalogue(self) -> tf.Tensor:
        """int32 [c], the item rows that can be recommended."""
        return self.negatives.catalogue

    def call(
        self, queries: tf.Tensor, candidates: tf.Tensor, positives: Positives, training: bool = False
    ) -> tf.Tensor:
        """The loss, a scalar.

        Args:
          queries: [n, dim] or [n, interests, dim].
          candidates: [n, dim], the positives' vectors.
          positives: a `Positives`.
          training: whether queue and streaming estimate are updated.

        Under a `tf.distribute` strategy all of these are this replica's rows of the batch. So is the loss, but its
        candidates are those of all replicas.
        """
        batch = replicas.SharedBatch(tf.shape(positives.rows)[0], positives.place)
        others = self.negatives.in_batch  # whether the positives of other rows are negatives
        batch_rows, batch_vectors, vectors = batch.gathered(positives.rows), candidates, candidates
        if others or self.negatives.queue is not None:  # all else needs this replica's vectors alone
            batch_vectors = batch.gathered(candidates)
            vectors = batch.own_first(batch_vectors, others)
        more = self._more(training, positives.hour)
        rows = tf.concat([batch_rows, *(rows for rows, _ in more)], axis=0)
        vectors = tf.concat([vectors, *(vectors for _, vectors in more)], axis=0)
        expected = self.negatives.expected_count(rows, batch.size, training)
        rows, expected = (None if values is None else batch.own_first(values, others) for values in (rows, expected))
        own = self._own(queries, positives, batch)
        loss = self.task(
            queries, vectors, sample_weight=positives.weight, candidate_sampling_probability=expected,
            candidate_ids=rows, known_positives=positives.known, score_mask=self._filled(rows, queries),
            own_embeddings=None if own is None else self._embed(own, training, positives.hour), own_ids=own,
            compute_metrics=False, training=training,
        )
        if training and self.negatives.queue is not None:
            self.negatives.queue.push(batch_rows, batch_vectors)
        return loss

    def refresh_hard(self) -> None:
        """Embeds the catalogue anew for the hard negatives, in blocks."""
        rows = self.hard.catalogue
        parts = [self._vectors(rows[i: i + _BLOCK], False) for i in range(0, int(tf.size(rows)), _BLOCK)]
        self.hard.refresh(tf.concat(parts, axis=0))

    def _more(self, training: bool, hour: tf.Tensor | None) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """(rows, vectors) of the candidates besides the positives: those drawn, then the queue's."""
        drawn = self.negatives.draw()
        more = [(drawn, self._embed(drawn, training, hour))] if drawn.shape[0] != 0 else []
        return more if self.negatives.queue is None else [*more, self.negatives.queue.read()]

    def _own(self, queries: tf.Tensor, positives: Positives, batch: replicas.SharedBatch) -> tf.Tensor | None:
        """int32 [n, any]: negatives of one batch row each, explicit and hard; None without such sources."""
        own = [positives.explicit] if self._explicit else []
        if self.hard is not None:
            own.append(self.hard.draw(queries, batch.places, batch.size))
        return tf.concat(own, axis=1) if own else None

    def _filled(self, rows: tf.Tensor, queries: tf.Tensor) -> tf.Tensor | None:
        """Leaves the queue's empty entries out."""
        if self.negatives.queue is None:
            return None
        return tf.broadcast_to(rows >= 0, [tf.shape(queries)[0], tf.size(rows)])

    def _embed(self, rows: tf.Tensor, training: bool, hour: tf.Tensor | None = None) -> tf.Tensor:
        """Vectors of item rows of any shape; missing ones (−1) get some item's, and are masked.

        hour: see `ItemFeatures.rows`.
        """
        flat = tf.reshape(rows, [-1])
        vectors = self._tower(self.items.rows(tf.maximum(flat, 0), hour), training=training)
        return tf.reshape(vectors, tf.concat([tf.shape(rows), [vectors.shape[-1]]], axis=0))


class CatalogueObjective(tf.keras.layers.Layer):
    """The softmax over the whole catalogue, whose items are all embedded in every step.

    Args:
      temperature: a `Temperature`.
      items: an `ItemFeatures`.
      candidate_tower: embeds the catalogue.
      catalogue: int32 [c], its item rows.
      block: queries at a time; see `full_softmax`.
    """

    def __init__(
        self, temperature: Temperature, items: ItemFeatures, candidate_tower: Tower, catalogue: np.ndarray, block: int
    ) -> None:
        super().__init__(name="objective")
        self._autocast = False  # scores are float32 under mixed precision too
        self.temperature = temperature
        self.items, self._tower, self._block = items, candidate_tower, block
        self.catalogue = tf.constant(catalogue, tf.int32)
        places = tf.scatter_nd(self.catalogue[:, tf.newaxis], tf.range(1, len(catalogue) + 1), [max(catalogue) + 1])
        self._places = tf.pad(places, [[0, 1]]) - 1  # the last stands for −1, padding

    def call(
        self, queries: tf.Tensor, candidates: tf.Tensor, positives: Positives, training: bool = False
    ) -> tf.Tensor:
        """The loss, a scalar; `candidates` are not read, as the catalogue has them. See `SampledObjective`."""
        vectors = self._tower(self.items.rows(self.catalogue, positives.hour), training=training)
        last = tf.size(self._places) - 1
        known = tf.where(positives.known < 0, last, tf.minimum(positives.known, last))
        loss = full_softmax(
            tf.cast(queries, tf.float32) / self.temperature.value(), tf.cast(vectors, tf.float32),
            tf.gather(self._places, positives.rows), positives.weight, tf.gather(self._places, known), self._block,
        )
        if training:
            self.temperature.advance()
        return loss
