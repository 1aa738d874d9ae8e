"""The softmax over the whole catalogue: the yardstick of every sampled loss."""

from collections.abc import Callable

import tensorflow as tf

from tfrs_twotower.configuration import config
from tfrs_twotower.losses.loss import Loss
from tfrs_twotower.ranges import Count


def full_softmax(
    queries: tf.Tensor, candidates: tf.Tensor, positive: tf.Tensor, weights: tf.Tensor | None = None,
    excluded: tf.Tensor | None = None, block: int = 256,
) -> tf.Tensor:
    """Mean of −log( e^{s⁺} / Σ over the catalogue of e^{s} ), s = ⟨query, candidate⟩.

    Queries are taken in blocks, and each block's gradients are formed with its loss, so that memory holds
    block × catalogue scores at a time and no product is done twice.

    Args:
      queries: float32 [n, dim], divided by the temperature.
      candidates: float32 [catalogue, dim].
      positive: int32 [n], the row of each query's positive in `candidates`.
      weights: [n] or None; see `weighted_mean`.
      excluded: int32 [n, any] or None: rows of `candidates` that are no negatives of the query; −1 pads. The
        positive counts, even if it is among them.
      block: queries at a time.

    Returns:
      float32 scalar.
    """
    count = tf.shape(queries)[0]
    if weights is None:
        weights = tf.ones([count])
    share = tf.math.divide_no_nan(tf.cast(weights, tf.float32), tf.reduce_sum(tf.cast(weights, tf.float32)))
    if excluded is None:
        excluded = tf.fill([count, 0], -1)

    @tf.custom_gradient
    def loss(
        queries: tf.Tensor, candidates: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
        total, by_query, by_candidate = _in_blocks(queries, candidates, positive, share, excluded, block)
        return total, lambda upstream: (upstream * by_query, upstream * by_candidate)

    return loss(queries, candidates)


def _in_blocks(
    queries: tf.Tensor, candidates: tf.Tensor, positive: tf.Tensor, share: tf.Tensor, excluded: tf.Tensor, block: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """(loss, its gradients by queries and by candidates), a block of queries at a time.

    The blocks hold only e^{s − max}. The division by its sum, and the subtraction of the positives, are done on the
    vectors, which are smaller than the scores.
    """
    count, share = tf.shape(queries)[0], share[:, tf.newaxis]
    blocks = (count + block - 1) // block
    of_positive = tf.gather(candidates, positive)
    own = tf.reduce_sum(queries * of_positive, axis=1)
    gradients = tf.TensorArray(tf.float32, blocks, infer_shape=False, element_shape=[None, queries.shape[1]])
    losses = tf.TensorArray(tf.float32, blocks, infer_shape=False, element_shape=[None])

    def one(
        i: tf.Tensor, losses: tf.TensorArray, gradients: tf.TensorArray, by_candidate: tf.Tensor
    ) -> tuple[tf.Tensor, tf.TensorArray, tf.TensorArray, tf.Tensor]:
        part = slice(i * block, tf.minimum((i + 1) * block, count))
        cells = tf.stack([tf.range(tf.shape(queries[part])[0]), positive[part]], axis=1)
        scores = _without(tf.matmul(queries[part], candidates, transpose_b=True), excluded[part])
        scores = tf.tensor_scatter_nd_update(scores, cells, own[part])
        largest = tf.reduce_max(scores, axis=1, keepdims=True)
        odds = tf.exp(scores - largest)
        total = tf.reduce_sum(odds, axis=1, keepdims=True)
        losses = losses.write(i, (tf.math.log(total) + largest)[:, 0] - own[part])
        scale = share[part] / total
        gradients = gradients.write(i, scale * tf.matmul(odds, candidates))
        by_candidate += tf.matmul(odds, scale * queries[part], transpose_a=True)
        return i + 1, losses, gradients, by_candidate

    _, losses, gradients, by_candidate = tf.while_loop(
        lambda i, *_: i < blocks, one, (0, losses, gradients, tf.zeros_like(candidates)), parallel_iterations=1
    )
    # A share of 0 leaves out even an infinite loss.
    loss = tf.reduce_sum(tf.math.multiply_no_nan(losses.concat(), share[:, 0]))
    by_candidate = tf.tensor_scatter_nd_sub(by_candidate, positive[:, tf.newaxis], share * queries)
    return loss, gradients.concat() - share * of_positive, by_candidate


def _without(scores: tf.Tensor, excluded: tf.Tensor) -> tf.Tensor:
    """Scores with −inf at the excluded columns."""
    at = tf.where(excluded >= 0)
    cells = tf.stack([tf.cast(at[:, 0], tf.int32), tf.gather_nd(excluded, at)], axis=1)
    return tf.tensor_scatter_nd_update(scores, cells, tf.fill([tf.shape(cells)[0]], float("-inf")))


@config
class FullSoftmax(Loss):
    """Listwise, over the whole catalogue in every step: for catalogues up to about ten thousand items.

    It draws no negatives and needs no correction. `block` bounds the memory: block × catalogue scores.
    """

    block: Count = 256
