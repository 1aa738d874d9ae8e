"""The signatures of an exported model and the defaults of their inputs, as TF Serving reads them."""

import functools
from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.exporting import fresh
from tfrs_twotower.exporting.retriever import Retriever
from tfrs_twotower.exporting.user_rows import UserRows
from tfrs_twotower.models import Repeated

DEFAULT_K = 10
BY_VECTOR = (c.RECOMMEND_BY_VECTOR, c.RECOMMEND_FRESH, c.RECOMMEND_FRESH_BY_VECTOR, c.RECOMMEND_FOUND_BY_VECTOR)
SEARCHES = (c.SERVING_DEFAULT, c.RECOMMEND_EXACT, *BY_VECTOR, c.SIMILAR_ITEMS)
BY_ROW = (
    *SEARCHES, c.EMBED_QUERY, c.QUERY_PARTS, c.EMBED_CANDIDATE, c.SCORE_PAIRS,  # batch rows do not depend on each other
)

# AutoGraph is off: it takes time, and no function here needs it.
_graph = functools.partial(tf.function, autograph=False)


def signatures(retriever: Retriever) -> dict[str, tf.types.experimental.PolymorphicFunction]:
    """{signature name: tf.function} of a `Retriever`, ready for `tf.saved_model.save`.

    An input has the safe name of its column (`columns.safe`).

    The signatures that search by vector are left out if there is a reranker.
    """
    query = _named(retriever.query_tower.inputs())
    candidate = _named(retriever.candidate_tower.inputs())
    id_type = retriever.item_ids.dtype
    count = tf.TensorSpec(None, tf.int32, c.K)
    no_ids = tf.zeros([1, 0], id_type)
    filters = [
        count,
        tf.TensorSpec([None, None], id_type, c.EXCLUDE_IDS),
        tf.TensorSpec([None, None], id_type, c.ALLOW_IDS),
        tf.TensorSpec(None, tf.float32, c.POPULARITY_BETA),
    ]

    def recommender(exact: bool) -> tf.types.experimental.PolymorphicFunction:
        @_graph(input_signature=[query, *filters])
        def recommend(
            features: Mapping[str, tf.Tensor], k: tf.Tensor = tf.constant(DEFAULT_K), exclude_ids: tf.Tensor = no_ids,
            allow_ids: tf.Tensor = no_ids, popularity_beta: tf.Tensor = tf.constant(0.0),
        ) -> dict[str, tf.Tensor]:
            ids, scores = retriever.recommend(features, k, exclude_ids, allow_ids, popularity_beta, exact=exact)
            return {c.IDS: ids, c.SCORES: scores}

        return recommend

    by_exact = recommender(exact=True)
    no_changes = fresh.Changes(tf.zeros([0], id_type), tf.zeros([0, retriever.dim]), tf.zeros([0], id_type))
    changes = [
        tf.TensorSpec([None], id_type, c.OVERLAY_IDS),
        tf.TensorSpec([None, retriever.dim], tf.float32, c.OVERLAY_VECTORS),
        tf.TensorSpec([None], id_type, c.WITHDRAWN_IDS),
    ]

    @_graph(input_signature=[query, *filters, *changes])
    def recommend_fresh(
        features: Mapping[str, tf.Tensor], k: tf.Tensor = tf.constant(DEFAULT_K), exclude_ids: tf.Tensor = no_ids,
        allow_ids: tf.Tensor = no_ids, popularity_beta: tf.Tensor = tf.constant(0.0),
        overlay_ids: tf.Tensor = no_changes.overlay_ids, overlay_vectors: tf.Tensor = no_changes.overlay_vectors,
        withdrawn_ids: tf.Tensor = no_changes.withdrawn_ids,
    ) -> dict[str, tf.Tensor]:
        changed, embedding = fresh.Changes(overlay_ids, overlay_vectors, withdrawn_ids), retriever.embed_query(features)
        own = retriever.repeated(features, tf.shape(embedding)[0])
        ids, scores = fresh.recommend(retriever, embedding, k, exclude_ids, allow_ids, popularity_beta, changed, own)
        return {c.IDS: ids, c.SCORES: scores}

    @_graph(input_signature=[query])
    def embed_query(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {c.EMBEDDING: retriever.embed_query(features)}

    # [None, dim], or [None, interests, dim]
    vector = tf.TensorSpec(embed_query.get_concrete_function().output_shapes[c.EMBEDDING], tf.float32, c.EMBEDDING)

    @_graph(input_signature=[vector, *filters])
    def recommend_by_vector(
        embedding: tf.Tensor, k: tf.Tensor = tf.constant(DEFAULT_K), exclude_ids: tf.Tensor = no_ids,
        allow_ids: tf.Tensor = no_ids, popularity_beta: tf.Tensor = tf.constant(0.0),
    ) -> dict[str, tf.Tensor]:
        ids, scores = retriever.recommend_by_vector(embedding, k, exclude_ids, allow_ids, popularity_beta)
        return {c.IDS: ids, c.SCORES: scores}

    @_graph(input_signature=[vector, *filters, *changes])
    def recommend_fresh_by_vector(
        embedding: tf.Tensor, k: tf.Tensor = tf.constant(DEFAULT_K), exclude_ids: tf.Tensor = no_ids,
        allow_ids: tf.Tensor = no_ids, popularity_beta: tf.Tensor = tf.constant(0.0),
        overlay_ids: tf.Tensor = no_changes.overlay_ids, overlay_vectors: tf.Tensor = no_changes.overlay_vectors,
        withdrawn_ids: tf.Tensor = no_changes.withdrawn_ids,
    ) -> dict[str, tf.Tensor]:
        changed = fresh.Changes(overlay_ids, overlay_vectors, withdrawn_ids)
        ids, scores = fresh.recommend(retriever, embedding, k, exclude_ids, allow_ids, popularity_beta, changed)
        return {c.IDS: ids, c.SCORES: scores}

    @_graph(input_signature=[vector, tf.TensorSpec([None, None], id_type, c.FOUND_IDS), *filters, *changes])
    def recommend_found_by_vector(
        embedding: tf.Tensor, found_ids: tf.Tensor, k: tf.Tensor = tf.constant(DEFAULT_K),
        exclude_ids: tf.Tensor = no_ids, allow_ids: tf.Tensor = no_ids, popularity_beta: tf.Tensor = tf.constant(0.0),
        overlay_ids: tf.Tensor = no_changes.overlay_ids, overlay_vectors: tf.Tensor = no_changes.overlay_vectors,
        withdrawn_ids: tf.Tensor = no_changes.withdrawn_ids,
    ) -> dict[str, tf.Tensor]:
        changed = fresh.Changes(overlay_ids, overlay_vectors, withdrawn_ids)
        ids, scores = fresh.recommend(
            retriever, embedding, k, exclude_ids, allow_ids, popularity_beta, changed, found_ids=found_ids
        )
        return {c.IDS: ids, c.SCORES: scores}

    @_graph(input_signature=[candidate])
    def embed_candidate(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {c.EMBEDDING: retriever.embed_candidate(features)}

    @_graph(input_signature=[query, tf.TensorSpec([None, None], id_type, c.CANDIDATE_IDS)])
    def score_pairs(features: Mapping[str, tf.Tensor], candidate_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        return {c.SCORES: retriever.score_pairs(features, candidate_ids)}

    @_graph(input_signature=[tf.TensorSpec([None], id_type, c.ITEM_ID), count])
    def similar_items(item_id: tf.Tensor, k: tf.Tensor = tf.constant(DEFAULT_K)) -> dict[str, tf.Tensor]:
        ids, scores = retriever.similar_items(item_id, k)
        return {c.IDS: ids, c.SCORES: scores}

    found = {
        c.SERVING_DEFAULT: recommender(exact=False) if retriever.searches_inside else by_exact,
        c.RECOMMEND_EXACT: by_exact,
        c.RECOMMEND_BY_VECTOR: recommend_by_vector,
        c.RECOMMEND_FRESH: recommend_fresh,
        c.RECOMMEND_FRESH_BY_VECTOR: recommend_fresh_by_vector,
        c.RECOMMEND_FOUND_BY_VECTOR: recommend_found_by_vector,
        c.EMBED_QUERY: embed_query,
        c.EMBED_CANDIDATE: embed_candidate,
        c.SCORE_PAIRS: score_pairs,
        c.SIMILAR_ITEMS: similar_items,
    }
    if retriever.is_linear:
        found[c.QUERY_PARTS] = _graph(retriever.query_parts, input_signature=[query])
    if retriever.repeats is not None:
        found.update(_told_the_past(retriever, vector, filters, changes))
    if retriever.heads is not None:
        found.update(_mixed(retriever, query, filters, changes))
    if retriever.user_rows is not None:
        found[c.UPDATE_USER_ROWS] = _user_rows(retriever.user_rows)
    # A search by vector does not rerank. With a reranker its answers would differ from those of the other signatures.
    return found if retriever.reranking is None else {n: f for n, f in found.items() if n not in BY_VECTOR}


def _told_the_past(
    retriever: Retriever, vector: tf.TensorSpec, filters: Sequence[tf.TensorSpec], changes: Sequence[tf.TensorSpec]
) -> dict[str, tf.types.experimental.PolymorphicFunction]:
    """The searches by vector with the history as an optional input, because repeats count. By default it is empty."""
    id_type = retriever.item_ids.dtype
    past = [
        tf.TensorSpec([None, None], id_type, c.HISTORY_ITEM_ID),
        tf.TensorSpec([None, None], tf.int64, c.HISTORY_TIMESTAMP),
        tf.TensorSpec([None], tf.int64, c.TIMESTAMP),
    ]
    no_ids, no_times, now = tf.zeros([1, 0], id_type), tf.zeros([1, 0], tf.int64), tf.zeros([1], tf.int64)
    nothing, no_vectors = tf.zeros([0], id_type), tf.zeros([0, retriever.dim])

    def own(embedding: tf.Tensor, items: tf.Tensor, times: tf.Tensor, now: tf.Tensor) -> Repeated | None:
        past = {c.HISTORY_ITEM_ID: items, c.HISTORY_TIMESTAMP: times, c.TIMESTAMP: now}
        return retriever.repeated(past, tf.shape(embedding)[0])

    @_graph(input_signature=[vector, *filters, *past])
    def recommend_by_vector(
        embedding: tf.Tensor, k: tf.Tensor = tf.constant(DEFAULT_K), exclude_ids: tf.Tensor = no_ids,
        allow_ids: tf.Tensor = no_ids, popularity_beta: tf.Tensor = tf.constant(0.0),
        history_item_id: tf.Tensor = no_ids, history_timestamp: tf.Tensor = no_times, timestamp: tf.Tensor = now,
    ) -> dict[str, tf.Tensor]:
        ids, scores = retriever.recommend_by_vector(
            embedding, k, exclude_ids, allow_ids, popularity_beta,
            own=own(embedding, history_item_id, history_timestamp, timestamp),
        )
        return {c.IDS: ids, c.SCORES: scores}

    @_graph(input_signature=[vector, *filters, *changes, *past])
    def recommend_fresh_by_vector(
        embedding: tf.Tensor, k: tf.Tensor = tf.constant(DEFAULT_K), exclude_ids: tf.Tensor = no_ids,
        allow_ids: tf.Tensor = no_ids, popularity_beta: tf.Tensor = tf.constant(0.0), overlay_ids: tf.Tensor = nothing,
        overlay_vectors: tf.Tensor = no_vectors, withdrawn_ids: tf.Tensor = nothing,
        history_item_id: tf.Tensor = no_ids, history_timestamp: tf.Tensor = no_times, timestamp: tf.Tensor = now,
    ) -> dict[str, tf.Tensor]:
        ids, scores = fresh.recommend(
            retriever, embedding, k, exclude_ids, allow_ids, popularity_beta,
            fresh.Changes(overlay_ids, overlay_vectors, withdrawn_ids),
            own(embedding, history_item_id, history_timestamp, timestamp),
        )
        return {c.IDS: ids, c.SCORES: scores}

    @_graph(input_signature=[vector, tf.TensorSpec([None, None], id_type, c.FOUND_IDS), *filters, *changes, *past])
    def recommend_found_by_vector(
        embedding: tf.Tensor, found_ids: tf.Tensor, k: tf.Tensor = tf.constant(DEFAULT_K),
        exclude_ids: tf.Tensor = no_ids, allow_ids: tf.Tensor = no_ids, popularity_beta: tf.Tensor = tf.constant(0.0),
        overlay_ids: tf.Tensor = nothing, overlay_vectors: tf.Tensor = no_vectors, withdrawn_ids: tf.Tensor = nothing,
        history_item_id: tf.Tensor = no_ids, history_timestamp: tf.Tensor = no_times, timestamp: tf.Tensor = now,
    ) -> dict[str, tf.Tensor]:
        ids, scores = fresh.recommend(
            retriever, embedding, k, exclude_ids, allow_ids, popularity_beta,
            fresh.Changes(overlay_ids, overlay_vectors, withdrawn_ids),
            own(embedding, history_item_id, history_timestamp, timestamp), found_ids,
        )
        return {c.IDS: ids, c.SCORES: scores}

    return {
        c.RECOMMEND_BY_VECTOR: recommend_by_vector, c.RECOMMEND_FRESH_BY_VECTOR: recommend_fresh_by_vector,
        c.RECOMMEND_FOUND_BY_VECTOR: recommend_found_by_vector,
    }


def _mixed(
    retriever: Retriever, query: Mapping[str, tf.TensorSpec], filters: Sequence[tf.TensorSpec],
    changes: Sequence[tf.TensorSpec],
) -> dict[str, tf.types.experimental.PolymorphicFunction]:
    """The signatures of raw features with the weights of the heads as an optional input. By default all are 0."""
    id_type, heads = retriever.item_ids.dtype, int(retriever.heads.shape[0])
    weights, no_weights = tf.TensorSpec([None, heads], tf.float32, c.OBJECTIVES), tf.zeros([1, heads])
    no_ids, nothing, no_vectors = tf.zeros([1, 0], id_type), tf.zeros([0], id_type), tf.zeros([0, retriever.dim])

    def recommender(exact: bool) -> tf.types.experimental.PolymorphicFunction:
        @_graph(input_signature=[query, *filters, weights])
        def recommend(
            features: Mapping[str, tf.Tensor], k: tf.Tensor = tf.constant(DEFAULT_K), exclude_ids: tf.Tensor = no_ids,
            allow_ids: tf.Tensor = no_ids, popularity_beta: tf.Tensor = tf.constant(0.0),
            objectives: tf.Tensor = no_weights,
        ) -> dict[str, tf.Tensor]:
            ids, scores = retriever.recommend(
                features, k, exclude_ids, allow_ids, popularity_beta, exact=exact, objectives=objectives
            )
            return {c.IDS: ids, c.SCORES: scores}

        return recommend

    @_graph(input_signature=[query, *filters, *changes, weights])
    def recommend_fresh(
        features: Mapping[str, tf.Tensor], k: tf.Tensor = tf.constant(DEFAULT_K), exclude_ids: tf.Tensor = no_ids,
        allow_ids: tf.Tensor = no_ids, popularity_beta: tf.Tensor = tf.constant(0.0), overlay_ids: tf.Tensor = nothing,
        overlay_vectors: tf.Tensor = no_vectors, withdrawn_ids: tf.Tensor = nothing, objectives: tf.Tensor = no_weights,
    ) -> dict[str, tf.Tensor]:
        embedding = retriever.embed_query(features, objectives)
        ids, scores = fresh.recommend(
            retriever, embedding, k, exclude_ids, allow_ids, popularity_beta,
            fresh.Changes(overlay_ids, overlay_vectors, withdrawn_ids),
            retriever.repeated(features, tf.shape(embedding)[0]),
        )
        return {c.IDS: ids, c.SCORES: scores}

    @_graph(input_signature=[query, weights])
    def embed_query(features: Mapping[str, tf.Tensor], objectives: tf.Tensor = no_weights) -> dict[str, tf.Tensor]:
        return {c.EMBEDDING: retriever.embed_query(features, objectives)}

    by_exact = recommender(exact=True)
    return {
        c.SERVING_DEFAULT: recommender(exact=False) if retriever.searches_inside else by_exact,
        c.RECOMMEND_EXACT: by_exact, c.RECOMMEND_FRESH: recommend_fresh, c.EMBED_QUERY: embed_query,
    }


def _user_rows(user_rows: UserRows) -> tf.types.experimental.PolymorphicFunction:
    @_graph(input_signature=[
        tf.TensorSpec([None], tf.int64, c.KEYS), tf.TensorSpec([None, user_rows.dim], tf.float32, c.ROWS)
    ])
    def update_user_rows(keys: tf.Tensor, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        return {c.COUNT: user_rows.replace(keys, rows)}

    return update_user_rows


def _named(inputs: Mapping[str, tf.TensorSpec]) -> dict[str, tf.TensorSpec]:
    return {name: tf.TensorSpec(spec.shape, spec.dtype, c.safe(name)) for name, spec in inputs.items()}
