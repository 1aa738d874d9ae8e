"""The softmax over the whole catalogue: the yardstick of every sampled loss."""

import tensorflow as tf

from tfrs_twotower.configuration import config
from tfrs_twotower.losses.loss import Loss
from tfrs_twotower.losses.softmax_blocks import softmax_in_blocks
from tfrs_twotower.ranges import Count


def full_softmax(
    queries: tf.Tensor, candidates: tf.Tensor, positive: tf.Tensor, weights: tf.Tensor | None = None,
    excluded: tf.Tensor | None = None, block: int = 256,
) -> tf.Tensor:
    """Mean of −log( e^{s⁺} / Σ over the catalogue of e^{s} ), s = ⟨query, candidate⟩.

    Memory holds block × catalogue scores at a time (`softmax_in_blocks`).

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
    def hide(part: slice, scores: tf.Tensor) -> tf.Tensor:
        return _without(scores, excluded[part])  # type: ignore[index]  # called only where it is given

    return softmax_in_blocks(
        queries, tf.gather(candidates, positive), candidates, block, own=positive, weights=weights,
        hide=None if excluded is None else hide,
    )


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
