"""The reranker of a model in training and in evaluation: its loss, its scores, and its weights."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.data import Ragged, log_popularity
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.evaluation import DotScorer, RerankedScorer, SumScorer
from tfrs_twotower.features import derive_seed
from tfrs_twotower.rerankers import RerankerConfig, RerankerLoss, Reranking, added
from tfrs_twotower.towers import EnsembleTower, InterestEncoder, Tower
from tfrs_twotower.training import Examples

_BLOCK = 4096  # items read at a time
_PAIRS = 2**16  # pairs rescored at a time
_SHOWN = 256  # queries whose pairs' field weights are averaged


class SecondStage:
    """The reranker of the retrieved top of one model.

    Args:
      config: a `RerankerConfig`.
      query_tower, candidate_tower: `Tower`s.
      examples: an `Examples`.
      catalogue: int32 [n], the item rows that can be recommended.
      shown: float64 [items], how often an epoch shows each as a positive.
      seed: of weights and draws.

    Raises:
      ConfigError: the query tower gives several vectors.
    """

    def __init__(
        self, config: RerankerConfig, query_tower: Tower | EnsembleTower, candidate_tower: Tower | EnsembleTower,
        examples: Examples, catalogue: np.ndarray, shown: np.ndarray, seed: int,
    ) -> None:
        if isinstance(query_tower.encoder, InterestEncoder):
            raise ConfigError(
                "A reranker reads one vector per query, and this query encoder gives several interests. Leave "
                "`ModelConfig.reranker` out, or use another encoder."
            )
        self._towers, self._examples, self._catalogue = (query_tower, candidate_tower), examples, catalogue
        self._reranker = config.build(query_tower, candidate_tower, derive_seed(seed, "reranker"))
        self.loss = RerankerLoss(config, self._reranker, log_popularity(shown), derive_seed(seed, "reranker_loss"))
        self._read = tf.function(self._candidate, reduce_retracing=True, autograph=False)
        self._add = tf.function(self._added, reduce_retracing=True, autograph=False)
        items = self._candidate(examples.candidates(catalogue[:1]))  # both calls make the reranker's weights
        self._added(examples.queries(np.zeros(1, np.int64)), items, tf.zeros([1, 1], tf.int32))

    def reranking(self) -> Reranking:
        """The `Reranking` of the catalogue, with the current weights."""
        blocks = range(0, len(self._catalogue), _BLOCK)
        parts = [self._read(self._examples.candidates(self._catalogue[i: i + _BLOCK])) for i in blocks]
        return Reranking(self._reranker, np.concatenate(parts))

    def scorers(
        self, rows: np.ndarray, exclude: Ragged | None
    ) -> Callable[[DotScorer | SumScorer], RerankedScorer]:
        """Retrieval → its `RerankedScorer`, by the current weights.

        The retrieval's scores are ⟨u, v⟩ / τ, to which the reranker learned to add.

        Args:
          rows: int64 [q], the queries' log rows.
          exclude: as in `RerankedScorer`.
        """
        items = self.reranking().items.read_value()

        def rescore(start: int, stop: int, positions: tf.Tensor) -> tf.Tensor:
            step, parts = max(1, _PAIRS // positions.shape[1]), []
            for i in range(start, stop, step):
                part = slice(i, min(i + step, stop))
                found = positions[part.start - start: part.stop - start]
                parts.append(self._add(self._examples.queries(rows[part]), items, found))
            return tf.concat(parts, axis=0)

        return lambda retrieval: RerankedScorer(retrieval, rescore, self._reranker.top, exclude)

    def field_weights(self, rows: np.ndarray, top: np.ndarray) -> dict[str, float] | None:
        """{field: mean weight} over the retrieved items of queries; None for a reranker that weighs no fields.

        Args:
          rows: int64 [q], the queries' log rows; the first 256 with an item in `top` count.
          top: int [q, any], catalogue positions; −1 pads.
        """
        if not hasattr(self._reranker, "field_weights"):
            return None
        asked = np.flatnonzero(top[:, 0] >= 0)[:_SHOWN]  # without a target nothing was retrieved
        encoded = self._examples.queries(rows[asked])
        query = self._reranker.query(encoded, self._towers[0](encoded))
        places = np.maximum(top[asked, : self._reranker.top], 0)
        weights = self._reranker.field_weights(query, tf.gather(self.reranking().items, places)).numpy()
        return dict(zip(self._reranker.names, weights.mean(axis=(0, 1)).astype(float).round(4).tolist()))

    def _candidate(self, encoded: dict[str, Any]) -> tf.Tensor:
        return self._reranker.candidate(encoded, self._towers[1](encoded))

    def _added(self, encoded: dict[str, Any], items: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        return added(self._reranker, items, encoded, self._towers[0](encoded), rows)
