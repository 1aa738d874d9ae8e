"""Exact ranks over the whole catalogue, in blocks of queries; ties count against the model."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.errors import EvaluationError, invalid
from tfrs_twotower.evaluation.scorers import Scorer, check_scorer, finite_rows, pairs
from tfrs_twotower.evaluation.views import is_in, kept, query_rows
from tfrs_twotower.scores import block_top_k

_BLOCK_BYTES = 256 * 2**20
_BYTES_PER_SCORE = 20  # scores, masked copy, padded copy, comparison and its integers
_GROUP = 16  # scores per block maximum: `depth` may be a part of a small catalogue


@dataclass(frozen=True)
class Ranking:
    """The ranks of the targets of each query.

    Attributes:
      targets: distinct candidate positions of each query, −1 for an item outside the catalogue. Excluded items are
        no targets, so a query may have none.
      ranks: int32 [targets]: 1 is best; `max_k + 1` means beyond `max_k` or not in the catalogue.
      first_rank: int64 [q]: rank of the best target at any depth; 0 if there is none in the catalogue.
      top: int32 [q, max_k]: recommended positions, best first, equal scores by position; −1 pads.
      catalogue: number of candidates.
      max_k: the depth of `ranks` and `top`.
    """

    targets: Ragged
    ranks: np.ndarray
    first_rank: np.ndarray
    top: np.ndarray
    catalogue: int
    max_k: int


def rank(
    scorer: Scorer, targets: Ragged, exclude: Ragged | None = None, max_k: int = 100, block: int | None = None
) -> Ranking:
    """Ranks the targets of each query among all candidates.

    The rank of a target is 1 + the number of candidates that score higher + the number of candidates that
    are no target and have the same score. Targets with the same score get successive ranks. So a model that gives
    all items the same score ranks all targets last.

    Args:
      scorer: a `Scorer` of q queries and n candidates.
      targets: candidate positions of each query; −1 is an item outside the catalogue and counts as a miss.
        A position that comes twice in a query counts once.
      exclude: candidate positions of each query that are not ranked (−1 is ignored), or None. They are no
        targets either.
      max_k: the depth of ranks and recommendations; may exceed n.
      block: queries at a time; by default as many as fit in about 256 MB.

    Raises:
      EvaluationError: a score is NaN or infinite, no query has a target, or shapes do not agree.
    """
    if scorer.size < 1 or scorer.catalogue < 1:
        raise EvaluationError(
            f"`scorer` must have queries and candidates. Received: {scorer.size} and {scorer.catalogue}. "
            "The split left nothing to evaluate."
        )
    if max_k < 1:
        raise EvaluationError(invalid("max_k", "be at least 1", max_k, "Give at least 1."))
    check_scorer(scorer, "targets", targets)
    targets = _distinct(targets)
    if exclude is not None:
        check_scorer(scorer, "exclude", exclude)
        targets = kept(targets, ~is_in(targets, exclude))
    if not len(targets.values):
        raise EvaluationError(
            f"`targets` must have at least one target. Received: none for all {scorer.size:,} queries"
            + (" without the seen items. Count repeats: exclude_seen=False." if exclude is not None else ".")
        )
    block = block or max(1, _BLOCK_BYTES // (_BYTES_PER_SCORE * scorer.catalogue))
    ranks = np.full(len(targets.values), max_k + 1, np.int32)
    first_rank = np.zeros(scorer.size, np.int64)
    top = np.full((scorer.size, max_k), -1, np.int32)
    for start in range(0, scorer.size, block):
        stop = min(start + block, scorer.size)
        span = slice(targets.offsets[start], targets.offsets[stop])
        positives, excluded = pairs(targets, start, stop), pairs(exclude, start, stop)
        found, first_rank[start:stop], best = _rank_block(scorer, start, stop, positives, excluded, max_k)
        ranks[span][targets.values[span] >= 0] = found
        top[start:stop, : best.shape[1]] = best
    return Ranking(targets, ranks, first_rank, top, scorer.catalogue, max_k)


def _distinct(targets: Ragged) -> Ragged:
    """Sorts each row and drops repeated positions, but not repeated −1."""
    rows = query_rows(targets)
    order = np.lexsort((targets.values, rows))
    values, rows = np.asarray(targets.values)[order], rows[order]
    keep = np.ones(len(values), bool)
    keep[1:] = (values[1:] != values[:-1]) | (rows[1:] != rows[:-1]) | (values[1:] < 0)
    counts = np.bincount(rows[keep], minlength=len(targets))
    return Ragged.from_lengths(values[keep], counts)


def _rank_block(
    scorer: Scorer, start: int, stop: int, positives: np.ndarray, excluded: np.ndarray, max_k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns ranks [positives], first rank [rows] and recommended positions [rows, ≤ max_k]."""
    scores = tf.convert_to_tensor(scorer.scores(start, stop), tf.float32)
    if scores.shape != (stop - start, scorer.catalogue):
        raise EvaluationError(
            f"`scorer.scores({start}, {stop})` must be [{stop - start}, {scorer.catalogue}]. "
            f"Received: shape {tuple(scores.shape)}. Return one row per query, one column per candidate."
        )
    if not np.isfinite(tf.reduce_sum(scores, axis=1)).all():  # only then can a score be NaN or infinite
        finite_rows("scores", scores.numpy(), first_row=start)
    depth = min(max_k + 1, scorer.catalogue)
    own, values, top, threshold, at_least = (t.numpy() for t in _search(scores, excluded, positives, depth))
    rows = positives[:, 0]
    reached = _as_good(values, at_least, threshold, rows, own)
    ranks, first_rank = _resolve_ties(rows, own, reached, stop - start)
    return np.minimum(ranks, max_k + 1), first_rank, np.where(values > -np.inf, top, -1)[:, :max_k]


@tf.function(
    input_signature=[
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([None, 2], tf.int32),
        tf.TensorSpec([None, 2], tf.int32),
        tf.TensorSpec([], tf.int32),
    ],
    autograph=False,
)
def _search(
    scores: tf.Tensor, excluded: tf.Tensor, positives: tf.Tensor, depth: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The passes over a block of scores.

    Returns:
      scores of the positives; the `depth` best scores and positions [b, depth];
      threshold [b], the smaller of the best positive and the last of the best scores; and the number of
      candidates that reach that threshold [b].
    """
    own = tf.gather_nd(scores, positives)
    nothing = tf.fill([tf.shape(excluded)[0]], -np.inf)
    scores = tf.tensor_scatter_nd_update(scores, excluded, nothing)
    values, top = block_top_k(scores, depth, block=_GROUP)
    best = tf.math.unsorted_segment_max(own, positives[:, 0], tf.shape(scores)[0])
    threshold = tf.minimum(best, values[:, -1])
    at_least = tf.reduce_sum(tf.cast(scores >= threshold[:, None], tf.int32), axis=1)
    return own, values, top, threshold, at_least


def _as_good(
    values: np.ndarray, at_least: np.ndarray, threshold: np.ndarray, rows: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """int64 [positives]: candidates that score at least as high, itself included.

    Exact if the positive lies above the last of the best scores or on the row's threshold. Otherwise more
    candidates than `values` holds score higher, and the result is the catalogue's size.
    """
    low, high = np.zeros(len(own), np.int64), np.full(len(own), values.shape[1], np.int64)
    for _ in range(values.shape[1].bit_length()):  # binary search in each positive's own row
        middle = (low + high) // 2
        inside = low < high
        above = inside & (values[rows, np.minimum(middle, values.shape[1] - 1)] >= own)
        low, high = np.where(above, middle + 1, low), np.where(inside & ~above, middle, high)
    deep = np.where(own == threshold[rows], at_least[rows], np.iinfo(np.int32).max)
    return np.where(own > values[rows, -1], low, deep)


def _resolve_ties(
    rows: np.ndarray, own: np.ndarray, reached: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks [positives] and the first rank [size] from the number of candidates as good as each positive."""
    order = np.lexsort((-own, rows))
    row, score = rows[order], own[order]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (row[1:] != row[:-1]) | (score[1:] != score[:-1])
    group = np.cumsum(fresh) - 1
    before = np.arange(len(order)) - np.flatnonzero(fresh)[group]
    ranks = np.empty(len(order), np.int64)
    ranks[order] = reached[order] - np.bincount(group)[group] + 1 + before
    first = np.zeros(size, np.int64)
    leading = np.ones(len(order), bool)
    leading[1:] = row[1:] != row[:-1]
    first[row[leading]] = ranks[order][leading]
    return ranks, first
