"""The largest scores of each row, ties by position, in few passes over the scores."""

import numpy as np

_GROUP = 16  # scores of a group


def largest(scores: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """(float32 values, int64 columns) [b, depth]: the largest scores of each row, best first, ties by column.

    A row is cut into n / 16 groups, whose maxima are compared first. A group takes every (n / 16)-th column, so that
    all maxima come from 16 comparisons of long vectors. The best `depth` scores lie in the `depth` groups with the
    largest maxima, except where scores tie. A row with a tie at the last of the best is searched as a whole.

    Args:
      scores: float32 [b, n], without NaN; −inf is allowed.
      depth: from 1 to n.
    """
    columns, outside = _candidates(scores, depth)
    found = np.take_along_axis(scores, columns, axis=1)
    last = np.partition(found, found.shape[1] - depth, axis=1)[:, found.shape[1] - depth]
    good = found >= last[:, None]
    tied = (np.count_nonzero(good, axis=1) > depth) | (outside >= last)
    best = np.empty((len(scores), depth), np.int64)
    best[~tied] = columns[~tied][good[~tied]].reshape(-1, depth)
    for row in np.flatnonzero(tied):
        above = np.flatnonzero(scores[row] > last[row])
        best[row] = np.concatenate([above, np.flatnonzero(scores[row] == last[row])[: depth - len(above)]])
    values = np.take_along_axis(scores, best, axis=1)
    order = np.lexsort((best, -values), axis=1)
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(best, order, axis=1)


def _candidates(scores: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """(int64 columns [b, any], float32 [b]): distinct columns with all scores above the `depth`-th largest of the row
    and `depth` of those from it on; and the largest score of all other columns, −inf without any."""
    rows, size = scores.shape
    width = size // _GROUP
    if width <= 2 * depth:
        return np.broadcast_to(np.arange(size), scores.shape), np.full(rows, -np.inf, np.float32)
    rest = np.broadcast_to(np.arange(width * _GROUP, size), (rows, size - width * _GROUP))
    maxima = scores[:, : width * _GROUP].reshape(rows, _GROUP, width).max(axis=1)
    order = np.argpartition(maxima, width - depth, axis=1)
    outside = np.take_along_axis(maxima, order[:, : width - depth], axis=1).max(axis=1)
    inside = order[:, None, width - depth:] + width * np.arange(_GROUP)[:, None]
    return np.concatenate([inside.reshape(rows, -1), rest], axis=1), outside
