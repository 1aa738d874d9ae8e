"""The interface of an index over candidate vectors, and its answer."""

from typing import NamedTuple, Protocol, runtime_checkable

import tensorflow as tf

from tfrs_twotower.index.checks import neighbours
from tfrs_twotower.scores import block_top_k


class TopK(NamedTuple):
    """The k best candidates of each query.

    scores: float32 [batch, k], descending; −inf pads.
    rows: int32 [batch, k]; the candidate's row in the indexed matrix; −1 pads.
    """

    scores: tf.Tensor
    rows: tf.Tensor


@runtime_checkable
class CandidateIndex(Protocol):
    """Top-k search by inner product. Implementations are `tf.Module`s, so a SavedModel holds them."""

    size: int
    dim: int
    exact: bool

    def search(self, queries: tf.Tensor, k: int | tf.Tensor) -> TopK:
        """Returns the k candidates with the largest ⟨query, candidate⟩. Graph code.

        queries: float32 [batch, dim]. k: int or int32 scalar tensor, at least 1; it may exceed `size`.
        An approximate index may find fewer than min(k, size): the rest is row −1, score −inf.

        Raises:
          IndexingError: k or the queries' shape is wrong. If k is known only when the graph runs, it is a
            `tf.errors.InvalidArgumentError`.
        """
        ...

    def settings(self) -> dict:
        """JSON-ready: the kind, the size, and the settings of building and searching."""
        ...


def padded(scores: tf.Tensor, rows: tf.Tensor, k: int | tf.Tensor) -> TopK:
    """Pads found [batch, ≤ k] to k columns and gives row −1 to every score of −inf."""
    missing = tf.maximum(k - tf.shape(scores)[1], 0)
    scores = tf.pad(scores, [[0, 0], [0, missing]], constant_values=float("-inf"))
    rows = tf.pad(rows, [[0, 0], [0, missing]], constant_values=-1)
    rows = tf.where(scores > float("-inf"), rows, -1)
    columns = tf.get_static_value(k)
    shape = [None, None if columns is None else int(columns)]
    return TopK(tf.ensure_shape(scores, shape), tf.ensure_shape(rows, shape))


def top_k(scores: tf.Tensor, k: int | tf.Tensor, size: int | tf.Tensor | None = None) -> TopK:
    """The k largest of each row, with ties in favour of the lower column: a `TopK` whose rows are columns of `scores`.

    scores: float32 [batch, n]; −inf means "not a candidate". k: int or scalar tensor ≥ 1, may exceed n.
    size: as in `scores.block_top_k`.
    """
    k = neighbours(k)
    return padded(*block_top_k(scores, k, size), k)


def masked_top_k(scores: tf.Tensor, mask: tf.Tensor, k: int | tf.Tensor) -> TopK:
    """`top_k` of the columns whose mask is true. scores: float32 [batch, n]; mask: bool, broadcasts to it."""
    return top_k(tf.where(mask, scores, float("-inf")), k)
