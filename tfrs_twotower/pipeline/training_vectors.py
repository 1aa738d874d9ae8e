"""The vectors of one training: of the queries of its log, and of the items of its catalogue."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog, Queries, Split
from tfrs_twotower.evaluation import empty_table
from tfrs_twotower.features import IdField, is_table
from tfrs_twotower.models import FewShot, ScoreWeights, TwoTowerModel
from tfrs_twotower.pipeline.score_terms import ScoreTerms
from tfrs_twotower.pipeline.second_stage import SecondStage
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.training import Examples, SequenceBatches, TrainingBatches

_BLOCK = 4096  # rows embedded at a time
_MOVING_ROWS = 2**20  # vectors of items at all moments of an evaluation
_CELLS = 2**23  # rows × events × events of one attention at a time


@dataclasses.dataclass
class TrainingVectors:
    """The parts of one training.

    Attributes:
      recipe: the `Recipe`, its schema, title and `evaluation.exclude_seen` filled in.
      log, split: the data, and its division into training rows and queries.
      model: a `TwoTowerModel`.
      examples, batches: encoded features; training batches.
      catalogue: int32, the item rows that can be recommended.
      train_counts: int64 [catalogue]: training events of each.
      terms: the `ScoreTerms`.
      second_stage: the `SecondStage` that rescores the retrieved top, or None.
      weights: the `ScoreWeights`.
      new_users, new_items: the `FewShot` of users or items without a row in the table of their ids; None before it is
        learned, and without `ModelConfig.few_shot`.
      partial: whether `log` is a part of the whole one: such a worker only trains, and the chief does all else.
    """

    recipe: Recipe
    log: InteractionLog
    split: Split
    model: TwoTowerModel
    examples: Examples
    batches: TrainingBatches | SequenceBatches
    catalogue: np.ndarray
    train_counts: np.ndarray
    terms: ScoreTerms
    second_stage: SecondStage | None = None
    weights: ScoreWeights = ScoreWeights()
    new_users: FewShot | None = None
    new_items: FewShot | None = None
    partial: bool = False

    def __post_init__(self) -> None:
        model = self.model
        self._query, self._candidate = (
            tf.function(
                functools.partial(tower, training=False),  # type: ignore[misc]  # Keras makes layers callable
                reduce_retracing=True, autograph=False,
            )
            for tower in (model.query_tower, model.candidate_tower)
        )

    def query_vectors(self, rows: np.ndarray) -> np.ndarray:
        """float32 [rows, dim], or [rows, interests, dim]: query vectors at log rows, with those of `neighbours`."""
        return self._behind(self.tower_vectors(rows), lambda: self.terms.pooled_at(rows), self.weights.neighbours)

    def candidate_vectors(self) -> np.ndarray:
        """float32 [catalogue, dim]: the catalogue's vectors, with those of `neighbours`."""
        vectors = self.item_vectors()
        return np.concatenate([vectors, self.terms.neighbours.items], axis=1) if self.weights.neighbours else vectors

    def towers(self, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """(of the queries, of the catalogue): the towers' vectors alone.

        With statistics of items, the catalogue's are [moments, catalogue, dim]; see `_moments`.
        """
        vectors, moments = self.tower_vectors(queries.row), self._moments(queries)
        if moments is None:
            return vectors, self.item_vectors()
        return vectors, np.stack([self.item_vectors(hour=int(hour)) for hour in moments[0]])

    def _moments(self, queries: Queries) -> tuple[np.ndarray, np.ndarray] | None:
        """(hours, int [queries]: the place of each query's hour in them); None if items have no statistics."""
        statistics, most = self.examples.statistics, max(_MOVING_ROWS // len(self.catalogue), 1)
        return None if statistics is None else statistics.moments(queries.timestamp, most)

    def tower_vectors(self, rows: np.ndarray, known: bool = True) -> np.ndarray:
        """As `query_vectors`, of the query tower alone.

        known: False: the tower's vectors of unknown users with the same features and histories, not adapted.
        """
        user, few = self.model.query_tower.user_table, self.new_users if known else None
        items = None if few is None else tf.constant(self.item_vectors())

        def embed(part: np.ndarray) -> tf.Tensor:
            encoded = self.examples.queries(part)
            if not known:
                encoded = _unknown(encoded, user)
            vectors = self._query(encoded)
            if few is None:
                return vectors
            new = encoded[user.name]["index"] == 0
            return few.newcomers_adapted(vectors, new, items, self.terms.newest(part, few.settings.events))

        return _in_blocks(embed, rows, min(_BLOCK, max(_CELLS // max(self.examples.history_length, 1) ** 2, 1)))

    def _place(self, queries: Queries) -> np.ndarray | None:
        """The moment of each query among those of `towers`; None if there is one for all."""
        moments = self._moments(queries)
        return None if moments is None else moments[1]

    @property
    def item_table(self) -> IdField | None:
        """The field of the item ids, if it has a table row per item; else None."""
        return next((f for f in self.model.candidate_tower.fields if is_table(f, c.ITEM_ID)), None)

    def item_vectors(
        self, positions: np.ndarray | slice = slice(None), hour: int | None = None, known: bool = True
    ) -> np.ndarray:
        """float32 [n, dim]: the candidate tower's vectors of catalogue positions.

        Args:
          hour: of the items' statistics, if they have any; None: the end of the log.
          known: False: the vectors of unknown items with the same features.
        """
        statistics = self.examples.statistics
        hour = statistics.end if hour is None and statistics is not None else hour

        def embed(part: np.ndarray) -> tf.Tensor:
            encoded = self.examples.candidates(part, hour)
            return self._candidate(encoded if known else _unknown(encoded, self.item_table))

        return _in_blocks(embed, self.catalogue[positions])

    def _behind(self, vectors: np.ndarray, pooled: Callable[[], np.ndarray], weight: float) -> np.ndarray:
        """The vectors of queries, with those of their histories appended if these have a weight."""
        if not weight:
            return vectors
        return np.concatenate([vectors, np.float32(weight * self.model.temperature) * pooled()], axis=1)


def _unknown(encoded: dict[str, Any], ids: IdField | None) -> dict[str, Any]:
    """Encoded features without the ids of a field; None: there is no such field."""
    return encoded if ids is None else {**encoded, ids.name: {"index": tf.zeros_like(encoded[ids.name]["index"])}}


def _in_blocks(embed: Callable[[np.ndarray], tf.Tensor], rows: np.ndarray, block: int = _BLOCK) -> np.ndarray:
    rows = np.asarray(rows)
    first = embed(rows[:block]).numpy()
    found = empty_table([len(rows), *first.shape[1:]], first.dtype)  # blocks to join would hold the vectors twice
    found[:block] = first
    for start in range(block, len(rows), block):
        found[start: start + block] = embed(rows[start: start + block])
    return found
