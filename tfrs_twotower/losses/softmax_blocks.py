"""A softmax of dot products that never holds all of its scores: queries are taken in blocks."""

from collections.abc import Callable

import tensorflow as tf


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
        def scored(part: slice) -> tf.Tensor:
            scores = tf.matmul(queries[part], candidates, transpose_b=True)
            if log_expected is not None:
                scores -= log_expected[1]
            if hide is not None:
                scores = hide(part, scores)
            if own is None:
                return scores
            rows = tf.range(tf.shape(scores)[0])  # the positive is counted by itself
            infinite = tf.fill(tf.shape(rows), float("-inf"))
            return tf.tensor_scatter_nd_update(scores, tf.stack([rows, own[part]], axis=1), infinite)

        score = tf.reduce_sum(queries * positives, axis=1) - (0.0 if log_expected is None else log_expected[0])
        losses, probability, by_query, by_candidate = _in_blocks(scored, queries, candidates, score, share, block)
        too_low = (probability - share)[:, tf.newaxis]
        # A share of 0 leaves out even an infinite loss.
        total = tf.reduce_sum(tf.math.multiply_no_nan(losses, share))
        gradients = (
            by_query + tf.math.multiply_no_nan(positives, too_low), tf.math.multiply_no_nan(queries, too_low),
            by_candidate, tf.where(tf.math.is_finite(losses), losses, 0.0),
        )
        return total, lambda upstream: [upstream * gradient for gradient in gradients]

    return loss(queries, positives, candidates, share)


def _in_blocks(
    scored: Callable[[slice], tf.Tensor], queries: tf.Tensor, candidates: tf.Tensor, score: tf.Tensor,
    share: tf.Tensor, block: int | tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """(losses [n], share × the positive's probability [n], gradients by queries and candidates without the positives').

    The blocks hold only e^{s − max}. The division by its sum is done on the vectors, which are smaller than the scores.
    """
    count = tf.shape(queries)[0]
    blocks = tf.maximum((count + block - 1) // block, 1)  # nothing can be joined of no block
    arrays = [
        tf.TensorArray(tf.float32, blocks, infer_shape=False, element_shape=[None, *width])
        for width in ([], [], [queries.shape[1]])
    ]

    def one(
        i: tf.Tensor, arrays: list[tf.TensorArray], by_candidate: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.TensorArray], tf.Tensor]:
        part = slice(i * block, tf.minimum((i + 1) * block, count))
        scores, own = scored(part), score[part]
        largest = tf.maximum(tf.reduce_max(scores, axis=1), own)
        odds, own_odds = tf.exp(scores - largest[:, tf.newaxis]), tf.exp(own - largest)
        total = tf.reduce_sum(odds, axis=1) + own_odds
        losses = tf.math.log(total) + largest - own
        left_out = (share[part] == 0) & ~tf.math.is_finite(total)  # infinite scores give NaN here
        odds = tf.cond(tf.reduce_any(left_out), lambda: tf.where(left_out[:, tf.newaxis], 0.0, odds), lambda: odds)
        scale = tf.math.divide_no_nan(share[part], tf.where(left_out, 1.0, total))
        probability, scale = tf.math.multiply_no_nan(own_odds, scale), scale[:, tf.newaxis]
        values = losses, probability, scale * tf.matmul(odds, candidates)
        own_queries = tf.math.multiply_no_nan(queries[part], scale)
        by_candidate += tf.matmul(odds, own_queries, transpose_a=True)
        return i + 1, [array.write(i, value) for array, value in zip(arrays, values)], by_candidate

    _, arrays, by_candidate = tf.while_loop(
        lambda i, *_: i < blocks, one, (0, arrays, tf.zeros_like(candidates)), parallel_iterations=1
    )
    losses, probability, by_query = (array.concat() for array in arrays)
    return losses, probability, by_query, by_candidate
