"""The whole retrieval as one `tf.Module`. It takes raw query features and returns the caller's own item ids."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.exporting.behind import PastVectors, searched_queries
from tfrs_twotower.exporting.similarity import Similarity
from tfrs_twotower.exporting.user_rows import UserRows
from tfrs_twotower.features import FingerprintLookup, fingerprints, is_missing
from tfrs_twotower.ids import missing_id
from tfrs_twotower.index import CandidateIndex, TopK, contains, exclude, merged, search_interests, top_k
from tfrs_twotower.models import Repeated, Repeats, repeated
from tfrs_twotower.models.repeats import NONE
from tfrs_twotower.rerankers import Reranking, reorder
from tfrs_twotower.scores import best, best_of_interests
from tfrs_twotower.towers import EnsembleTower, Tower

_BLOCK_SCORES = 2**25  # scores of one block of queries in exact search: 128 MiB of float32
_SPARE = 50  # a search by the index fetches at most k + this many items in place of hidden ones
LOWEST = tf.float32.min  # the score of a missing id; finite, because JSON has no infinity

_Answer = TypeVar("_Answer")


def shared(method: Callable[..., _Answer]) -> Callable[..., _Answer]:
    """Makes a method one function of the graph, which all signatures call, instead of one copy in each signature.

    Called from Python, the method runs eagerly: a trace for every shape would be slow. A function whose first argument
    is a `Retriever` is shared in the same way.
    """
    traced = tf.function(method, autograph=False)

    @functools.wraps(method)
    def run(self: "Retriever", *args: Any, **named: Any) -> _Answer:
        if tf.executing_eagerly():
            return method(self, *args, **named)
        return traced.__get__(self, type(self))(*args, **named)

    return run


class Retriever(tf.Module):
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
    """

    def __init__(
        self, query_tower: Tower | EnsembleTower, candidate_tower: Tower | EnsembleTower, vectors: np.ndarray,
        item_ids: np.ndarray | tf.Tensor, index: CandidateIndex | None, temperature: float, log_popularity: np.ndarray,
        reranking: Reranking | None = None, popularity_weight: float = 0.0, similarity: Similarity | None = None,
        repeats: Repeats | None = None, past_vectors: PastVectors | None = None, heads: np.ndarray | None = None,
    ) -> None:
        super().__init__(name="retriever")
        self.query_tower, self.candidate_tower = query_tower, candidate_tower
        self.vectors = tf.Variable(vectors, trainable=False, name="vectors")
        self.item_ids = tf.Variable(item_ids, trainable=False, name="item_ids")
        self.log_popularity = tf.Variable(log_popularity, trainable=False, name="log_popularity")
        self.unknown_log_popularity = tf.Variable(np.median(log_popularity), False, dtype=tf.float32)
        self.popularity_weight = popularity_weight
        self.scale = tf.Variable(1.0 / temperature, trainable=False, name="scale")
        self.index = None if index is None or index.exact else index
        self.reranking, self.similarity = reranking, similarity
        self.size, self.dim = int(vectors.shape[0]), int(vectors.shape[1])
        self._tower_dim = self.dim - (past_vectors.dim if past_vectors else 0)
        self.tower_dim = tf.Variable(self._tower_dim, trainable=False, name="tower_dim")  # read from a loaded export
        self.missing_id = tf.constant(missing_id(self.item_ids.dtype), self.item_ids.dtype)
        self._rows = FingerprintLookup(tf.constant(item_ids))
        self._user = query_tower.user_table
        self.user_rows = UserRows(self._user.feature.dim) if self._user else None
        self.repeats, self.past_vectors = repeats, past_vectors
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
        behind = tf.gather(self.vectors, tf.maximum(rows[:, 0], 0))[:, self._tower_dim:]
        return tf.concat([vectors, tf.where(rows >= 0, behind, 0.0)], axis=-1)

    @property
    def is_linear(self) -> bool:
        """Can `query_parts` split the query tower's vectors?"""
        return getattr(self.query_tower, "is_linear", False)

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
        return self.index is not None and not isinstance(self.index, tf.Module)

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

    def _catalogue_rows(self, codes: tf.Tensor) -> tf.Tensor:
        """Catalogue rows of the codes of a `Repeated`; −1 for `NONE` and for an item that the catalogue lacks."""
        return tf.where(codes == NONE, -1, self._rows(codes) - 1)

    def _past(self, past: Mapping[str, tf.Tensor], batch: tf.Tensor, half_life: float | None, length: int) -> Repeated:
        ids = self._per_query(past[c.HISTORY_ITEM_ID], batch)
        times = self._per_query(past[c.HISTORY_TIMESTAMP], batch)
        now = tf.broadcast_to(past.get(c.TIMESTAMP, tf.zeros([1], tf.int64)), [batch])
        codes = tf.where(is_missing(ids), tf.constant(-1, tf.int64), fingerprints(ids))
        return repeated(codes, times, now, half_life, length)

    @shared
    def _search(
        self, embedding: tf.Tensor, k: tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor,
        popularity_beta: float | tf.Tensor, exact: bool, hidden: tf.Tensor | None = None, own: Repeated | None = None,
        found_ids: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(scores, catalogue rows) [batch, k] of the retrieval. A score of −inf is padding. own: a `Repeated`."""
        queries = embedding * self.scale
        batch = tf.shape(queries)[0]
        excluded = self._per_query(exclude_ids, batch)
        allowed = self._per_query(allow_ids, batch)
        beta = tf.broadcast_to(tf.reshape(tf.cast(popularity_beta, tf.float32), [-1]), [batch])

        def by_exact() -> tuple[tf.Tensor, tf.Tensor]:
            return self._exact(queries, k, excluded, allowed, beta - self.popularity_weight, hidden, False, own)

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
        queries = tf.gather(self.vectors, at)[:, : self._tower_dim]
        if measure is not None:
            queries *= 2.0 / tf.gather(measure.lengths, at)[:, tf.newaxis]
        nothing = tf.fill([tf.shape(rows)[0], 0], self.missing_id)
        scores, found = self._exact(
            queries, self._checked(k), item_id[:, tf.newaxis], nothing, tf.zeros_like(rows, tf.float32), None,
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
        rows = self.rows_of(self._per_query(candidate_ids, tf.shape(queries)[0]))
        scores = self._scores_of(queries, rows)
        own = self.repeated(features, tf.shape(queries)[0])
        if own is not None:
            scores += own.of(fingerprints(self._per_query(candidate_ids, tf.shape(queries)[0])))
        if self.reranking is not None:
            scores += self._added(encoded, embedding, rows)
        return tf.where(rows >= 0, scores, LOWEST)

    @shared
    def _embed(self, features: Mapping[str, tf.Tensor]) -> tuple[dict[str, Any], tf.Tensor]:
        """(the encoded fields of the query tower, with user table rows newer than the export; the query vectors)."""
        encoded = self._encoded(features)
        vectors = self.query_tower(encoded, training=False)
        if self.past_vectors is not None:
            past = self._past(features, tf.shape(vectors)[0], None, self.past_vectors.length)
            vectors = tf.concat([vectors, self.past_vectors(self._catalogue_rows(past.codes))], axis=-1)
        return encoded, vectors

    def _mixed(self, embedding: tf.Tensor, objectives: tf.Tensor | None) -> tf.Tensor:
        """Query vectors [batch, dim] by the objectives of the request. Weights of 0 change no bit of them."""
        if objectives is None:
            return embedding
        factors = 1.0 + tf.matmul(objectives, self.heads)
        factors = tf.pad(factors, [[0, 0], [0, self.dim - self._tower_dim]], constant_values=1.0)
        return embedding * (factors if len(embedding.shape) == 2 else factors[:, tf.newaxis])

    def _encoded(self, features: Mapping[str, tf.Tensor]) -> dict[str, Any]:
        encoded = self.query_tower.encode(features)
        if self._user is not None:
            fresh = self.user_rows.overlay(features[c.USER_ID])
            encoded[self._user.name] = {**encoded[self._user.name], **fresh}
        return encoded

    @shared
    def _added(self, encoded: dict[str, Any], embedding: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        return self.reranking.added(encoded, embedding, rows)

    def _checked(self, k: int | tf.Tensor) -> tf.Tensor:
        k = tf.reduce_max(k)
        tf.debugging.assert_positive(k, "`k` must be at least 1.")
        return tf.minimum(k, self.size)

    def _per_query(self, ids: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        return tf.broadcast_to(ids, [batch, tf.shape(ids)[1]])

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
        past = self._catalogue_rows(own.codes)
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

    @shared
    def _exact(
        self, queries: tf.Tensor, k: tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor, beta: tf.Tensor,
        hidden: tf.Tensor | None = None, similar: bool = False, own: Repeated | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(scores, catalogue rows) [batch, k] by exact search, in blocks of queries so that memory stays bounded.

        similar: True turns inner products with 2v / |v| into the part of `similarity` that depends on the other item.
        own: a `Repeated`, which is added to the scores; None: nothing is added.
        """
        batch = tf.shape(queries)[0]
        step = max(1, _BLOCK_SCORES // self.size)
        blocks = tf.maximum((batch + step - 1) // step, 1)
        alone = queries.shape[-1] == self._tower_dim < self.dim
        vectors = self.vectors[:, : self._tower_dim] if alone else self.vectors
        offered = None if hidden is None else self._offered(hidden)
        asked = [queries, exclude_ids, allow_ids, beta]
        if own is not None:
            asked += [self._catalogue_rows(own.codes), own.values]

        def search(
            queries: tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor, beta: tf.Tensor,
            past: tf.Tensor | None = None, added: tf.Tensor | None = None,
        ) -> TopK:
            scores = best_of_interests(lambda query: tf.matmul(query, vectors, transpose_b=True), queries)
            if similar:
                scores = scores / self.similarity.lengths - self.similarity.density
            scores = self._by_options(scores, exclude_ids, allow_ids, beta)
            if past is not None:
                at = tf.where(past >= 0)
                cells = tf.stack([tf.cast(at[:, 0], tf.int32), tf.gather_nd(past, at)], axis=1)
                scores = tf.tensor_scatter_nd_add(scores, cells, tf.gather_nd(added, at))
            if offered is not None:
                scores = tf.where(offered, scores, -np.inf)
            return top_k(scores, k)

        def many() -> tuple[tf.Tensor, tf.Tensor]:
            scores = tf.TensorArray(tf.float32, blocks, infer_shape=False, element_shape=[None, None])
            rows = tf.TensorArray(tf.int32, blocks, infer_shape=False, element_shape=[None, None])

            def block(
                i: tf.Tensor, scores: tf.TensorArray, rows: tf.TensorArray
            ) -> tuple[tf.Tensor, tf.TensorArray, tf.TensorArray]:
                found = search(*(values[i * step:(i + 1) * step] for values in asked))
                return i + 1, scores.write(i, found[0]), rows.write(i, found[1])

            _, scores, rows = tf.while_loop(lambda i, *_: i < blocks, block, (0, scores, rows))
            return scores.concat(), rows.concat()

        if not tf.executing_eagerly():  # both branches call it, and share one trace
            search = tf.function(search, [tf.TensorSpec([None, *v.shape[1:]], v.dtype) for v in asked], autograph=False)
        scores, rows = tf.cond(blocks == 1, lambda: tuple(search(*asked)), many)
        return tf.ensure_shape(scores, [None, None]), tf.ensure_shape(rows, [None, None])

    def _by_options(
        self, scores: tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor, beta: tf.Tensor
    ) -> tf.Tensor:
        """Scores [batch, n] of all items, by the options of the requests. Most have none, which costs one condition."""
        biased = tf.reduce_any(beta != 0.0)

        def changed() -> tf.Tensor:
            shifted = tf.cond(biased, lambda: scores - beta[:, tf.newaxis] * self.log_popularity, lambda: scores)
            cells = self._cells(exclude_ids)
            left = tf.tensor_scatter_nd_update(shifted, cells, tf.fill([tf.shape(cells)[0]], -np.inf))
            return tf.cond(tf.size(allow_ids) > 0, lambda: self._only(left, allow_ids), lambda: left)

        return tf.cond(biased | (tf.size(exclude_ids) + tf.size(allow_ids) > 0), changed, lambda: scores)

    def _offered(self, hidden: tf.Tensor) -> tf.Tensor:
        """bool [n]: the catalogue rows that are not hidden."""
        rows = self.rows_of(hidden)
        rows = tf.boolean_mask(rows, rows >= 0)
        return tf.tensor_scatter_nd_update(
            tf.ones([self.size], tf.bool), rows[:, tf.newaxis], tf.zeros_like(rows, tf.bool)
        )

    def _cells(self, ids: tf.Tensor) -> tf.Tensor:
        """[m, 2]: (query, catalogue row) of each known id among ids [b, w]."""
        rows = self.rows_of(ids)
        at = tf.where(rows >= 0)
        return tf.stack([tf.cast(at[:, 0], tf.int32), tf.gather_nd(rows, at)], axis=1)

    def _only(self, scores: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        cells = self._cells(ids)
        free = tf.reduce_all(ids == self.missing_id, axis=1)
        mask = tf.tensor_scatter_nd_update(
            tf.zeros_like(scores, tf.bool), cells, tf.ones([tf.shape(cells)[0]], tf.bool)
        )
        return tf.where(tf.logical_or(mask, free[:, tf.newaxis]), scores, -np.inf)


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
