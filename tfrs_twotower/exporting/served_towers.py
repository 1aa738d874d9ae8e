"""The towers as a version serves them: from raw features to the vectors that an index searches."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.exporting.behind import PastVectors
from tfrs_twotower.exporting.shared import shared
from tfrs_twotower.exporting.user_rows import UserRows
from tfrs_twotower.features import FingerprintLookup, fingerprints, is_missing
from tfrs_twotower.ids import missing_id
from tfrs_twotower.models import FewShot, Repeated, Repeats, repeated
from tfrs_twotower.models.repeats import NONE
from tfrs_twotower.towers import EnsembleTower, Tower


class ServedTowers(tf.Module):
    """Both towers, what is appended to their vectors, and the catalogue's vectors.

    Args:
      query_tower, candidate_tower, vectors, item_ids, repeats, past_vectors, heads, few_shot: as in `Retriever`.

    Attributes:
      size: the number of items of the catalogue.
      dim: the length of the vectors, with what is appended.
      tower_length: the length of the towers' own vectors.
    """

    def __init__(
        self, query_tower: Tower | EnsembleTower, candidate_tower: Tower | EnsembleTower, vectors: np.ndarray,
        item_ids: np.ndarray | tf.Tensor, repeats: Repeats | None = None, past_vectors: PastVectors | None = None,
        heads: np.ndarray | None = None, few_shot: FewShot | None = None,
    ) -> None:
        super().__init__(name="retriever")
        self.query_tower, self.candidate_tower = query_tower, candidate_tower
        self.vectors = tf.Variable(vectors, trainable=False, name="vectors")
        self.item_ids = tf.Variable(item_ids, trainable=False, name="item_ids")
        self.missing_id = tf.constant(missing_id(self.item_ids.dtype), self.item_ids.dtype)
        self._rows = FingerprintLookup(tf.constant(item_ids))
        self.size, self.dim = int(vectors.shape[0]), int(vectors.shape[1])
        self.tower_length = self.dim - (past_vectors.dim if past_vectors else 0)
        self.tower_dim = tf.Variable(self.tower_length, trainable=False, name="tower_dim")  # read from a loaded export
        self._user = query_tower.user_table
        self.user_rows = UserRows(self._user.feature.dim) if self._user else None
        self.repeats, self.past_vectors, self.few_shot = repeats, past_vectors, few_shot
        self.heads = None if heads is None else tf.Variable(heads, trainable=False, name="heads")

    def embed_query(self, features: Mapping[str, tf.Tensor], objectives: tf.Tensor | None = None) -> tf.Tensor:
        """The query vectors [batch, dim] of features {input name: [batch, ...]}.

        objectives: float32 [batch or 1, heads], the weight of each head; None: 0.
        """
        return self._mixed(self._embed(features)[1], objectives)

    def embed_candidate(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The candidate vectors [batch, dim] of features {input name: [batch, ...]}."""
        vectors = self.candidate_tower(self.candidate_tower.encode(features), training=False)
        if self.past_vectors is None:
            return vectors
        rows = self.rows_of(features[c.ITEM_ID])[:, tf.newaxis]
        behind = tf.gather(self.vectors, tf.maximum(rows[:, 0], 0))[:, self.tower_length:]
        return tf.concat([vectors, tf.where(rows >= 0, behind, 0.0)], axis=-1)

    @property
    def is_linear(self) -> bool:
        """Can `query_parts` split the query tower's vectors?"""
        return self.few_shot is None and getattr(self.query_tower, "is_linear", False)

    def query_parts(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What each field adds to the query tower's vectors, as `Tower.parts`: {field name: [batch, tower_dim]}.

        `history_item_id` has the parts of the newest events in the place of the history's fields: [batch, length,
        tower_dim], oldest first, with zeros after the last event. `length` is that of the longest field.
        """
        found, events = {}, []
        for name, part in self.query_tower.parts(self._encoded(features)).items():
            if part.shape.rank == 2:
                found[name] = part
            else:
                events.append(part)
        if not events:
            return found
        there = tf.cast(~is_missing(features[c.HISTORY_ITEM_ID]), tf.int32)
        last = tf.reduce_max(tf.pad(there * tf.range(1, tf.shape(there)[1] + 1), [[0, 0], [1, 0]]), axis=1)
        width = max(field.length for field in self.query_tower.fields if field.name not in found)
        return {**found, c.HISTORY_ITEM_ID: tf.add_n([_newest(part, last, width) for part in events])}

    def rows_of(self, ids: tf.Tensor) -> tf.Tensor:
        """Catalogue rows of item ids, int32 of the same shape; −1 for an unknown id."""
        return self._rows(ids) - 1

    def repeated(self, past: Mapping[str, tf.Tensor], batch: tf.Tensor) -> Repeated | None:
        """The `Repeated` of a batch, weighted; None without `repeats`. Its codes are the fingerprints of item ids.

        past: {input name: [batch or 1, ...]}: the items and times of the history, and the request's time if the model
          reads it.
        """
        if self.repeats is None:
            return None
        (weight,), (half_life,) = self.repeats.weights, self.repeats.half_lives
        found = self._past(past, batch, half_life, self.repeats.length)
        return found._replace(values=weight * found.values)

    @shared
    def _embed(self, features: Mapping[str, tf.Tensor]) -> tuple[dict[str, Any], tf.Tensor]:
        """(the encoded fields of the query tower, with user table rows newer than the export; the query vectors)."""
        encoded = self._encoded(features)
        vectors = self.query_tower(encoded, training=False)
        if self.few_shot is not None:
            own = encoded[self._user.name]
            past = self._past(features, tf.shape(vectors)[0], None, self.few_shot.settings.events)
            vectors = self.few_shot.newcomers_adapted(
                vectors, (own["index"] == 0) & ~own["fresh"], self.vectors[:, : self.tower_length],
                self.catalogue_rows(past.codes),
            )
        if self.past_vectors is not None:
            past = self._past(features, tf.shape(vectors)[0], None, self.past_vectors.length)
            vectors = tf.concat([vectors, self.past_vectors(self.catalogue_rows(past.codes))], axis=-1)
        return encoded, vectors

    def _mixed(self, embedding: tf.Tensor, objectives: tf.Tensor | None) -> tf.Tensor:
        """Query vectors [batch, dim] by the objectives of the request. Weights of 0 change no bit of them."""
        if objectives is None:
            return embedding
        factors = 1.0 + tf.matmul(objectives, self.heads)
        factors = tf.pad(factors, [[0, 0], [0, self.dim - self.tower_length]], constant_values=1.0)
        return embedding * (factors if len(embedding.shape) == 2 else factors[:, tf.newaxis])

    def _encoded(self, features: Mapping[str, tf.Tensor]) -> dict[str, Any]:
        encoded = self.query_tower.encode(features)
        if self._user is not None:
            fresh = self.user_rows.overlay(features[c.USER_ID])
            encoded[self._user.name] = {**encoded[self._user.name], **fresh}
        return encoded

    def _past(self, past: Mapping[str, tf.Tensor], batch: tf.Tensor, half_life: float | None, length: int) -> Repeated:
        ids = per_query(past[c.HISTORY_ITEM_ID], batch)
        times = per_query(past[c.HISTORY_TIMESTAMP], batch)
        now = tf.broadcast_to(past.get(c.TIMESTAMP, tf.zeros([1], tf.int64)), [batch])
        codes = tf.where(is_missing(ids), tf.constant(-1, tf.int64), fingerprints(ids))
        return repeated(codes, times, now, half_life, length)

    def catalogue_rows(self, codes: tf.Tensor) -> tf.Tensor:
        """Catalogue rows of the codes of a `Repeated`; −1 for `NONE` and for an item that the catalogue lacks."""
        return tf.where(codes == NONE, -1, self._rows(codes) - 1)


def per_query(ids: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """ids [batch or 1, any] as [batch, any]."""
    return tf.broadcast_to(ids, [batch, tf.shape(ids)[1]])


def _newest(parts: tf.Tensor, last: tf.Tensor, width: int) -> tf.Tensor:
    """The parts [batch, length, dim] of the newest `length` events, among those of the newest `width`.

    Args:
      parts: oldest first.
      last: int32 [batch], where each history ends.
      width: at least `length`.

    Returns:
      [batch, width, dim], zeros where there is no part.
    """
    length = tf.shape(parts)[1]
    at = tf.range(width) + (tf.maximum(last - width, 0) - tf.maximum(last - length, 0))[:, tf.newaxis]
    there = (at >= 0) & (at < length)
    found = tf.gather(parts, tf.where(there, at, 0), batch_dims=1)
    return tf.where(there[..., tf.newaxis], found, 0.0)
