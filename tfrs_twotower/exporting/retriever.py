"""The whole retrieval as one `tf.Module`. It takes raw query features and returns the caller's own item ids."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.exporting.behind import PastVectors, searched_queries
from tfrs_twotower.exporting.exact_search import exact_search
from tfrs_twotower.exporting.served_towers import ServedTowers, per_query
from tfrs_twotower.exporting.shared import shared
from tfrs_twotower.exporting.similarity import Similarity
from tfrs_twotower.features import fingerprints
from tfrs_twotower.index import CandidateIndex, TopK, contains, exclude, merged, search_interests
from tfrs_twotower.models import FewShot, Repeated, Repeats
from tfrs_twotower.rerankers import Reranking, reorder
from tfrs_twotower.scores import best, best_of_interests
from tfrs_twotower.towers import EnsembleTower, Tower

_SPARE = 50  # a search by the index fetches at most k + this many items in place of hidden ones
LOWEST = tf.float32.min  # the score of a missing id; finite, because JSON has no infinity


class Retriever(ServedTowers):
    """Towers, catalogue and index together.

    A `Retriever` gives the same answers in Python and, saved, in any TensorFlow runtime. Scores are
    ⟨u, v⟩ / τ + (w − β) · log p(item). β is 0 unless a request sets it. `past_vectors` are appended to u, and `repeats`
    adds to the scores of the items in the query's history. If a query has several interests, the one with the largest
    ⟨u, v⟩ counts, and its vector is [interests, dim] where this text says [dim].

    With a reranker, the first N items of every answer to raw features are rescored. Filters and β apply before, so a
    filtered item does not come back. A search by vector does not rerank.

    Args:
      query_tower, candidate_tower: `Tower`s, adapted and trained.
      vectors: float32 [n, dim], the candidate tower's output for the catalogue.
      item_ids: string or int64 [n], the caller's item ids of those catalogue rows.
      index: a `CandidateIndex` over `vectors`, or over their `searched_candidates` if w is not 0; None for exact
        search. An index that is not a `tf.Module` is searched in Python alone; a graph takes its results as an input.
      temperature: τ.
      log_popularity: float32 [n], log p(item) from training counts. An item that the catalogue lacks has the median.
      reranking: a `Reranking` of the same catalogue, or None.
      popularity_weight: w, at least 0.
      similarity: the `Similarity` of `vectors`, for similar items; None: ⟨v, v'⟩.
      repeats: a `Repeats` with one weight and one half-life, or None. With it, the query tower reads the history.
      past_vectors: the `PastVectors` of the same catalogue, or None. With it, `vectors` are longer than the candidate
        tower's output: `NeighbourVectors.items` are appended.
      heads: float32 [heads, tower dim], the weights w of `EventHeads`; None: there are none. A request may weigh them:
        the score is then ⟨u ⊙ (1 + Σ weight · w), v⟩ / τ + …, one inner product.
      few_shot: a `FewShot` for users without a row in the table of user ids, or None. With it, the query tower reads
        the history.
    """

    def __init__(
        self, query_tower: Tower | EnsembleTower, candidate_tower: Tower | EnsembleTower, vectors: np.ndarray,
        item_ids: np.ndarray | tf.Tensor, index: CandidateIndex | None, temperature: float, log_popularity: np.ndarray,
        reranking: Reranking | None = None, popularity_weight: float = 0.0, similarity: Similarity | None = None,
        repeats: Repeats | None = None, past_vectors: PastVectors | None = None, heads: np.ndarray | None = None,
        few_shot: FewShot | None = None,
    ) -> None:
        super().__init__(query_tower, candidate_tower, vectors, item_ids, repeats, past_vectors, heads, few_shot)
        self.log_popularity = tf.Variable(log_popularity, trainable=False, name="log_popularity")
        self.unknown_log_popularity = tf.Variable(np.median(log_popularity), False, dtype=tf.float32)
        self.popularity_weight = popularity_weight
        self.scale = tf.Variable(1.0 / temperature, trainable=False, name="scale")
        self.index = None if index is None or index.exact else index
        self.reranking, self.similarity = reranking, similarity

    def recommend(
        self, features: Mapping[str, tf.Tensor], k: int | tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor,
        popularity_beta: float | tf.Tensor, exact: bool = False, objectives: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The top k of each query.

        Args:
          features: {input name: [batch, ...]}.
          k: int32 of any shape; its largest value counts. An answer has at most as many items as the catalogue.
          exclude_ids: [batch or 1, any]: these items are never returned. They do not shorten the answer while other
            items remain.
          allow_ids: [batch or 1, any]: no other items are returned. A batch row of padding alone restricts nothing.
          popularity_beta: float of any shape: one value for all queries, or one for each.
          exact: True searches exactly. False searches by the index, unless filters leave it too few items or β
            reorders the whole catalogue.
          objectives: as in `embed_query`.

        Returns:
          (ids, scores): [batch, min(k, catalogue)], best first. If fewer items remain, the missing id and the lowest
          float32 are padding.
        """
        encoded, embedding = self._embed(features)
        embedding = self._mixed(embedding, objectives)
        own = self.repeated(features, tf.shape(embedding)[0])
        if self.reranking is None:
            return self.recommend_by_vector(embedding, k, exclude_ids, allow_ids, popularity_beta, exact, own=own)
        k = self._checked(k)
        fetched = self._checked(tf.maximum(k, self.reranking.top))
        scores, rows = self._search(embedding, fetched, exclude_ids, allow_ids, popularity_beta, exact, None, own)
        added = self._added(encoded, embedding, rows[:, : self.reranking.top])
        scores, rows = reorder(scores, rows, added)
        return self._named(scores[:, :k], rows[:, :k])

    def recommend_by_vector(
        self, embedding: tf.Tensor, k: int | tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor,
        popularity_beta: float | tf.Tensor, exact: bool = False, hidden: tf.Tensor | None = None,
        own: Repeated | None = None, found_ids: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Does the same as `recommend` for query vectors [batch, dim] from `embed_query`, without the reranker.

        hidden: ascending int64 [h], fingerprints of items that no query gets; h has no limit. None: no item is hidden.
        own: the output of `repeated` for the history of each query; None: no query has a history.
        found_ids: [batch, any]: items that another index found, in place of this index's search; None: this index
          searches.
        """
        k = self._checked(k)
        return self._named(*self._search(
            embedding, k, exclude_ids, allow_ids, popularity_beta, exact, hidden, own, found_ids
        ))

    @property
    def searches_outside(self) -> bool:
        """Is the index outside the graph?"""
        return self.index is not None and not self.searches_inside

    @property
    def searches_inside(self) -> bool:
        """Does a graph search by an index? If not, it searches exactly."""
        return isinstance(self.index, tf.Module)

    @shared
    def _search(
        self, embedding: tf.Tensor, k: tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor,
        popularity_beta: float | tf.Tensor, exact: bool, hidden: tf.Tensor | None = None, own: Repeated | None = None,
        found_ids: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(scores, catalogue rows) [batch, k] of the retrieval. A score of −inf is padding. own: a `Repeated`."""
        queries = embedding * self.scale
        batch = tf.shape(queries)[0]
        excluded = per_query(exclude_ids, batch)
        allowed = per_query(allow_ids, batch)
        beta = tf.broadcast_to(tf.reshape(tf.cast(popularity_beta, tf.float32), [-1]), [batch])

        def by_exact() -> tuple[tf.Tensor, tf.Tensor]:
            return exact_search(self, queries, k, excluded, allowed, beta - self.popularity_weight, hidden, False, own)

        in_reach = self.index is not None and (tf.executing_eagerly() or not self.searches_outside)
        if exact or not in_reach and found_ids is None:
            return by_exact()
        plain = tf.logical_and(
            tf.reduce_all(allowed == self.missing_id), tf.reduce_all(beta == 0.0)
        )
        searched = searched_queries(embedding) * self.scale if self.popularity_weight else queries

        def by_index() -> tuple[tf.Tensor, tf.Tensor]:
            found = None if found_ids is None else self._among(queries, found_ids)
            scores, rows = self._approximate(searched, k, excluded, hidden, by_exact, found)
            return (scores, rows) if own is None else self._with_own(scores, rows, queries, excluded, hidden, own)

        return tf.cond(plain, by_index, by_exact)

    def similar_items(self, item_id: tf.Tensor, k: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The k catalogue items most like each item, without the item itself: (ids, scores), scores by `similarity`.

        The dimensions appended to the candidate tower's vectors do not count.
        """
        rows, measure = self.rows_of(item_id), self.similarity
        at = tf.maximum(rows, 0)
        queries = tf.gather(self.vectors, at)[:, : self.tower_length]
        if measure is not None:
            queries *= 2.0 / tf.gather(measure.lengths, at)[:, tf.newaxis]
        nothing = tf.fill([tf.shape(rows)[0], 0], self.missing_id)
        scores, found = exact_search(
            self, queries, self._checked(k), item_id[:, tf.newaxis], nothing, tf.zeros_like(rows, tf.float32), None,
            measure is not None,
        )
        if measure is not None:
            scores -= tf.gather(measure.density, at)[:, tf.newaxis]
        known = (rows >= 0)[:, tf.newaxis]
        return self._named(tf.where(known, scores, -np.inf), tf.where(known, found, -1))

    def score_pairs(self, features: Mapping[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        """Scores of given candidates, with the reranker's part: [batch, any]; the lowest float32 for an unknown id."""
        encoded, embedding = self._embed(features)
        queries = embedding * self.scale
        rows = self.rows_of(per_query(candidate_ids, tf.shape(queries)[0]))
        scores = self._scores_of(queries, rows)
        own = self.repeated(features, tf.shape(queries)[0])
        if own is not None:
            scores += own.of(fingerprints(per_query(candidate_ids, tf.shape(queries)[0])))
        if self.reranking is not None:
            scores += self._added(encoded, embedding, rows)
        return tf.where(rows >= 0, scores, LOWEST)

    @shared
    def _added(self, encoded: dict[str, Any], embedding: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        return self.reranking.added(encoded, embedding, rows)

    def _checked(self, k: int | tf.Tensor) -> tf.Tensor:
        k = tf.reduce_max(k)
        tf.debugging.assert_positive(k, "`k` must be at least 1.")
        return tf.minimum(k, self.size)

    def _named(self, scores: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        ids = tf.gather(self.item_ids, tf.maximum(rows, 0))
        found = tf.logical_and(rows >= 0, tf.math.is_finite(scores))
        return tf.where(found, ids, self.missing_id), tf.where(found, scores, LOWEST)

    def _approximate(
        self, queries: tf.Tensor, k: tf.Tensor, exclude_ids: tf.Tensor, hidden: tf.Tensor | None,
        by_exact: Callable[[], tuple[tf.Tensor, tf.Tensor]], found: TopK | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The items that this index finds, or those that another index `found`, without the scores of repeats.

        The search fetches as many more items as there are exclusions. If too few items are left, an exact search takes
        its place.

        The search fetches at most k + `_SPARE` more items for the hidden ones. Fetching more costs more than the exact
        search of the few queries most of whose best items are hidden.
        """
        wanted = k + tf.shape(exclude_ids)[1]
        if hidden is not None:
            wanted += tf.minimum(tf.size(hidden), k + _SPARE)
        whole = found is None and hidden is None  # what is found is the answer, if nothing is excluded
        if found is None:
            found = search_interests(self.index, queries, tf.minimum(wanted, self.size))  # type: ignore[arg-type]
        if hidden is not None:
            codes = fingerprints(tf.gather(self.item_ids, tf.maximum(found.rows, 0)))
            found = found._replace(scores=tf.where(contains(hidden, codes), -np.inf, found.scores))

        def left() -> TopK:
            return exclude(found, self.rows_of(exclude_ids), k)

        scores, rows = tf.cond(tf.shape(exclude_ids)[1] > 0, left, lambda: found) if whole else left()
        return tf.cond(tf.reduce_all(rows >= 0), lambda: (scores, rows), by_exact)

    def _among(self, queries: tf.Tensor, ids: tf.Tensor) -> TopK:
        """The items of ids [batch, any], each once, with their scores. An item that the catalogue lacks has row −1."""
        rows = self.rows_of(ids)
        return merged(tf.where(rows >= 0, self._scores_of(queries, rows), -np.inf), rows, tf.shape(rows)[1])

    def _scores_of(self, queries: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """float32 [batch, any]: scores of catalogue rows [batch, any], without repeats. Row −1 gets an arbitrary score.
        """
        vectors, popular = (tf.gather(values, tf.maximum(rows, 0)) for values in (self.vectors, self.log_popularity))
        scores = best_of_interests(lambda query: tf.einsum("bd,bwd->bw", query, vectors), queries)
        return scores + self.popularity_weight * popular

    def _with_own(
        self, scores: tf.Tensor, rows: tf.Tensor, queries: tf.Tensor, exclude_ids: tf.Tensor, hidden: tf.Tensor | None,
        own: Repeated,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(scores, catalogue rows) of the best items, with the whole score of the items in the query's history."""
        past = self.catalogue_rows(own.codes)
        known = self._scores_of(queries, past) + own.values
        there = past >= 0
        if hidden is not None:
            there &= ~contains(hidden, own.codes)
        k = tf.shape(scores)[1]
        out = TopK(tf.where(there, known, -np.inf), tf.where(there, past, -1))
        left = exclude(out, self.rows_of(exclude_ids), k)
        others = exclude(TopK(scores, rows), tf.where(there, past, -1), k)
        scores, rows = (tf.concat([getattr(part, name) for part in (left, others)], axis=1) for name in TopK._fields)
        return best(scores, rows, k)
