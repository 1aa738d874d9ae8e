"""A softmax of dot products that never holds all of its scores: queries are taken in blocks."""

from collections.abc import Callable

import tensorflow as tf

_SMALLEST = 1e-30  # a probability that float32 holds exactly enough for its logarithm


def softmax_in_blocks(
    queries: tf.Tensor, positives: tf.Tensor, candidates: tf.Tensor, block: int | tf.Tensor,
    own: tf.Tensor | None = None, weights: tf.Tensor | None = None,
    log_expected: tuple[tf.Tensor, tf.Tensor] | None = None,
    hide: Callable[[slice, tf.Tensor], tf.Tensor] | None = None,
) -> tf.Tensor:
    """Mean of −log( e^{s⁺} / (e^{s⁺} + Σⱼ e^{sⱼ}) ), s = ⟨query, candidate⟩ − log Q.

    A block's gradients are formed with its loss. So memory holds block × candidates scores at a time, no product is
    done twice, and a block that fits into the processor's cache is several times as fast as all scores at once. The
    three matrices and the weights get gradients; a query of weight 0 adds nothing, and gives none to the matrices.

    Args:
      queries: float32 [n, dim], divided by the temperature.
      positives: float32 [n, dim], the vector of each query's positive.
      candidates: float32 [c, dim], shared by all queries.
      block: queries at a time.
      own: int32 [n], the row of each query's positive in `candidates`; None: it is not among them.
      weights: [n] or None; see `weighted_mean`.
      log_expected: log Q of the positives [n] and of the candidates [c]; None: no correction.
      hide: (a slice of the queries, their scores [b, c]) → the scores, −inf where a candidate does not count. The
        query's positive always counts.

    Returns:
      float32 scalar; 0 without queries.
    """
    count = tf.shape(queries)[0]
    weights = tf.ones([count]) if weights is None else tf.cast(weights, tf.float32)
    share = tf.math.divide_no_nan(weights, tf.reduce_sum(weights))

    @tf.custom_gradient
    def loss(
        queries: tf.Tensor, positives: tf.Tensor, candidates: tf.Tensor, share: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], list[tf.Tensor]]]:
        score = tf.reduce_sum(queries * positives, axis=1) - (0.0 if log_expected is None else log_expected[0])
        # A further number of each vector subtracts log Q within the product, which saves a pass over the scores.
        asked, found = queries, candidates
        if log_expected is not None:
            asked = tf.concat([queries, tf.ones([count, 1])], axis=1)
            found = tf.concat([candidates, -log_expected[1][:, tf.newaxis]], axis=1)

        def scored(part: slice) -> tf.Tensor:
            scores = tf.matmul(asked[part], found, transpose_b=True)
            if hide is not None:
                scores = hide(part, scores)
            if own is None:  # the positive is then the first column
                return tf.concat([score[part][:, tf.newaxis], scores], axis=1)
            rows = tf.range(tf.shape(scores)[0])
            return tf.tensor_scatter_nd_update(scores, tf.stack([rows, own[part]], axis=1), score[part])

        losses, own_probability, by_query, by_candidate = _in_blocks(
            scored, queries, candidates, score, own, share, block
        )
        # A share of 0 leaves out even an infinite loss.
        total = tf.reduce_sum(tf.math.multiply_no_nan(losses, share))
        rise = (own_probability - share if own is None else -share)[:, tf.newaxis]
        gradients = (
            by_query + tf.math.multiply_no_nan(positives, rise), tf.math.multiply_no_nan(queries, rise),
            by_candidate, tf.where(tf.math.is_finite(losses), losses, 0.0),
        )
        return total, lambda upstream: [upstream * gradient for gradient in gradients]

    return loss(queries, positives, candidates, share)


def _in_blocks(
    scored: Callable[[slice], tf.Tensor], queries: tf.Tensor, candidates: tf.Tensor, score: tf.Tensor,
    own: tf.Tensor | None, share: tf.Tensor, block: int | tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """(losses [n], share × the positive's probability [n], gradients by queries and by candidates: without the −1 of
    the positive, and without the positive itself if it is in the further first column).

    TensorFlow's softmax takes one pass over the scores, where its steps one by one take five.
    """
    count = tf.shape(queries)[0]
    vectors = candidates if own is not None else tf.pad(candidates, [[1, 0], [0, 0]])  # the first column adds nothing
    blocks = tf.maximum((count + block - 1) // block, 1)  # nothing can be joined of no block
    arrays = [
        tf.TensorArray(tf.float32, blocks, infer_shape=False, element_shape=[None, *width])
        for width in ([], [], [queries.shape[1]])
    ]

    def one(
        i: tf.Tensor, arrays: list[tf.TensorArray], by_vector: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.TensorArray], tf.Tensor]:
        part = slice(i * block, tf.minimum((i + 1) * block, count))
        scores = scored(part)
        columns = tf.zeros([tf.shape(scores)[0]], tf.int32) if own is None else own[part]
        probability = tf.nn.softmax(scores)
        of_own = tf.gather(probability, columns, batch_dims=1)

        exact, losses = of_own > _SMALLEST, -tf.math.log(of_own)

        def by_largest() -> tf.Tensor:  # where the positive's probability underflows; max p ≥ 1 / candidates
            largest = tf.reduce_max(scores, axis=1) - tf.math.log(tf.reduce_max(probability, axis=1))
            return tf.where(exact, losses, largest - score[part])

        losses = tf.cond(tf.reduce_all(exact), lambda: losses, by_largest)
        left_out = (share[part] == 0) & ~(of_own > 0)  # infinite scores give NaN
        probability = tf.cond(
            tf.reduce_any(left_out), lambda: tf.where(left_out[:, tf.newaxis], 0.0, probability), lambda: probability
        )
        scale = share[part][:, tf.newaxis]
        values = losses, tf.math.multiply_no_nan(of_own, share[part]), scale * tf.matmul(probability, vectors)
        own_queries = tf.math.multiply_no_nan(queries[part], scale)
        by_vector += tf.matmul(probability, own_queries, transpose_a=True)
        return i + 1, [array.write(i, value) for array, value in zip(arrays, values)], by_vector

    _, arrays, by_vector = tf.while_loop(
        lambda i, *_: i < blocks, one, (0, arrays, tf.zeros_like(vectors)), parallel_iterations=1
    )
    losses, own_probability, by_query = (array.concat() for array in arrays)
    return losses, own_probability, by_query, by_vector if own is not None else by_vector[1:]
