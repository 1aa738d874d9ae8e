"""The softmax over the whole catalogue: the yardstick of every sampled loss."""

import tensorflow as tf

from tfrs_twotower.config import at_least, config


def full_softmax(queries, candidates, positive, weights=None, excluded=None, block=1024):
    """Mean of −log( e^{s⁺} / Σ over the catalogue of e^{s} ), s = ⟨query, candidate⟩.

    Queries are taken in blocks, and each block's gradients are formed with its loss, so that memory holds
    block × catalogue scores at a time and no product is done twice.

    Args:
      queries: float32 [n, dim], divided by the temperature.
      candidates: float32 [catalogue, dim].
      positive: int32 [n], the row of `candidates` that is right.
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
    def loss(queries, candidates):
        total, by_query, by_candidate = _in_blocks(queries, candidates, positive, share, excluded, block)
        return total, lambda upstream: (upstream * by_query, upstream * by_candidate)

    return loss(queries, candidates)


def _in_blocks(queries, candidates, positive, share, excluded, block):
    """(loss, its gradients by queries and by candidates), a block of queries at a time."""
    count = tf.shape(queries)[0]
    blocks = (count + block - 1) // block
    gradients = tf.TensorArray(tf.float32, blocks, infer_shape=False, element_shape=[None, queries.shape[1]])

    def one(i, total, gradients, by_candidate):
        part = slice(i * block, tf.minimum((i + 1) * block, count))
        cells = tf.stack([tf.range(tf.shape(queries[part])[0]), positive[part]], axis=1)
        scores = tf.matmul(queries[part], candidates, transpose_b=True)
        of_positive = tf.gather_nd(scores, cells)
        scores = tf.tensor_scatter_nd_update(_without(scores, excluded[part]), cells, of_positive)
        probability = tf.nn.softmax(scores)
        losses = tf.reduce_max(scores, axis=1) - of_positive - tf.math.log(tf.reduce_max(probability, axis=1))
        by_score = tf.tensor_scatter_nd_sub(probability * share[part][:, tf.newaxis], cells, share[part])
        gradients = gradients.write(i, tf.matmul(by_score, candidates))
        by_candidate += tf.matmul(by_score, queries[part], transpose_a=True)
        return i + 1, total + _weighted_sum(losses, share[part]), gradients, by_candidate

    _, total, gradients, by_candidate = tf.while_loop(
        lambda i, *_: i < blocks, one, (0, 0.0, gradients, tf.zeros_like(candidates)), parallel_iterations=1
    )
    return total, gradients.concat(), by_candidate


def _weighted_sum(losses, share):
    """Σ share · loss; a share of 0 leaves out even an infinite loss."""
    return tf.reduce_sum(tf.math.multiply_no_nan(losses, share))


def _without(scores, excluded):
    """Scores with −inf at the excluded columns."""
    at = tf.where(excluded >= 0)
    cells = tf.stack([tf.cast(at[:, 0], tf.int32), tf.gather_nd(excluded, at)], axis=1)
    return tf.tensor_scatter_nd_update(scores, cells, tf.fill([tf.shape(cells)[0]], float("-inf")))


@config
class FullSoftmax:
    """Listwise, over the whole catalogue in every step: for catalogues up to about ten thousand items.

    It draws no negatives and needs no correction. `block` bounds the memory: block × catalogue scores.
    """

    block: int = 1024

    def __post_init__(self):
        at_least(1, self, "block")
