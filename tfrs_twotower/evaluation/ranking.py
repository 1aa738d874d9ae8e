"""Exact ranks over the whole catalogue, in blocks of queries; candidates of equal score stand in random order."""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tfrs_twotower import progress
from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.errors import EvaluationError, invalid
from tfrs_twotower.evaluation.best_of_rows import best_of_rows
from tfrs_twotower.evaluation.parts import Parts
from tfrs_twotower.evaluation.scorers import Scorer, check_scorer, finite_rows, pairs, rows_at_once
from tfrs_twotower.evaluation.ties import drawn_places
from tfrs_twotower.evaluation.views import is_in, kept, query_rows

_CACHED_SCORES = 1_000_000  # 4 MB

Asked = tuple[Scorer, Ragged, Ragged | None]  # a scorer, the targets, and what is excluded


@dataclass(frozen=True)
class Ranking:
    """The ranks of the targets of each query.

    Attributes:
      targets: distinct candidate positions of each query, −1 for an item outside the catalogue. Excluded items are
        no targets, so a query may have none.
      ranks: int32 [targets]: 1 is best; `max_k + 1` means beyond `max_k` or not in the catalogue.
      first_rank: int64 [q]: rank of the best target at any depth; 0 if there is none in the catalogue.
      top: int32 [q, max_k]: recommended positions, best first, equal scores by position; −1 pads, and fills the row
        of a query without a target.
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

    The rank of a target is its place after a sort by score, in which candidates of equal score stand in random order.
    The order is drawn by a fixed seed for each query and target, and does not depend on the scorer. So a model that
    gives all items the same score ranks as chance does, and whole numbers, such as counts, are no disadvantage.
    For a query without a target nothing is ranked, as no metric counts it.

    Args:
      scorer: a `Scorer` of q queries and n candidates.
      targets: candidate positions of each query; −1 is an item outside the catalogue and counts as a miss.
        A position that comes twice in a query counts once.
      exclude: candidate positions of each query that are not ranked (−1 is ignored), or None. They are no
        targets either.
      max_k: the depth of ranks and recommendations; may exceed n.
      block: queries at a time; by default `rows_at_once`.

    Raises:
      EvaluationError: a score is NaN or infinite, no query has a target, or shapes do not agree.
    """
    return rank_each([(scorer, targets, exclude)], max_k, block)[0]


def rank_each(
    asked: Sequence[Asked], max_k: int = 100, block: int | None = None, parts: Parts | None = None
) -> list[Ranking]:
    """`rank` of each (scorer, targets, exclude), in one pass over blocks of queries.

    A scorer that comes several times in a row scores a block once. With `parts`, what a part of the queries gave is
    read from its file, or kept there.
    """
    if max_k < 1:
        raise EvaluationError(invalid("max_k", "be at least 1", max_k, "Give at least 1."))
    passes = [_Pass(*one, max_k) for one in asked]
    size, catalogue = (max(getattr(p.scorer, name) for p in passes) for name in ("size", "catalogue"))
    block = block or rows_at_once(catalogue)
    if parts is None:
        _rank_range(passes, 0, size, block)
    else:
        digests, ranges = _digests(passes, block), list(parts.ranges(size, block))
        if parts.spark is not None:
            left = [part for part in ranges if not all(parts.has(digest, *part) for digest in digests)]
            here = dataclasses.replace(parts, spark=None, folder=parts.folder.absolute())
            if left:
                parts.spark.each(functools.partial(_rank_part, asked, max_k, block, here, digests), left)
        for part in ranges:
            _fill_part(passes, block, parts, digests, part)
    return [one.ranking for one in passes]


def _rank_part(
    asked: Sequence[Asked], max_k: int, block: int, parts: Parts, digests: Sequence[str], part: tuple[int, int]
) -> None:
    """Keeps a part, as a task."""
    _fill_part([_Pass(*one, max_k) for one in asked], block, parts, digests, part)


def _fill_part(
    passes: "Sequence[_Pass]", block: int, parts: Parts, digests: Sequence[str], part: tuple[int, int]
) -> None:
    """Fills the rankings for a part: from its files, or else by ranking it, and writes those."""
    missing = [
        (one, digest) for one, digest in zip(passes, digests) if not parts.read(digest, *part, one.rows(*part))
    ]
    _rank_range([one for one, _ in missing], *part, block)
    for one, digest in missing:
        parts.write(digest, *part, one.rows(*part))


def _rank_range(passes: "Sequence[_Pass]", first: int, end: int, block: int) -> None:
    """Fills the rankings for the queries from `first` to `end`."""
    with progress.bar("Ranking queries", end - first) as advance:
        for start in range(first, end, block):
            _rank_passes(passes, start, min(start + block, end))
            advance(block)


def _rank_passes(passes: "Sequence[_Pass]", start: int, end: int) -> None:
    for _, several in itertools.groupby(passes, key=lambda one: id(one.scorer)):
        views = list(several)
        for first, scores in _in_parts(views[0].scorer, start, min(end, views[0].scorer.size)):
            for one in views:
                one.rank(scores, first, first + len(scores))


def _digests(passes: "Sequence[_Pass]", block: int) -> list[str]:
    """One of each: of its targets and exclusions, and of its scores of the first and the last block of queries."""
    last, scored, found = None, b"", []
    for one in passes:
        if one.scorer is not last:
            last, size = one.scorer, one.scorer.size
            ends = (_scores(last, 0, min(block, size)), _scores(last, max(size - block, 0), size))
            scored = hashlib.sha256(b"".join(scores.tobytes() for scores in ends)).digest()
        digest = hashlib.sha256(scored + f"{block} {one.ranking.max_k}".encode())
        for ragged in (one.ranking.targets, one.exclude):
            if ragged is not None:
                digest.update(np.asarray(ragged.offsets).tobytes() + np.asarray(ragged.values).tobytes())
        found.append(digest.hexdigest()[:24])
    return found


class _Pass:
    """One scorer's way through the blocks; fills its `ranking`."""

    def __init__(self, scorer: Scorer, targets: Ragged, exclude: Ragged | None, max_k: int) -> None:
        if scorer.size < 1 or scorer.catalogue < 1:
            raise EvaluationError(
                f"`scorer` must have queries and candidates. Received: {scorer.size} and {scorer.catalogue}. "
                "The split left nothing to evaluate."
            )
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
        self.scorer, self.exclude = scorer, exclude
        self.ranking = Ranking(
            targets, np.full(len(targets.values), max_k + 1, np.int32), np.zeros(scorer.size, np.int64),
            np.full((scorer.size, max_k), -1, np.int32), scorer.catalogue, max_k,
        )

    def rank(self, scores: np.ndarray, start: int, stop: int) -> None:
        """Fills the rows start to stop by their `scores`, which stay as they are."""
        found, targets = self.ranking, self.ranking.targets
        span = slice(targets.offsets[start], targets.offsets[stop])
        asked = np.flatnonzero(np.diff(targets.offsets[start:stop + 1]))
        if not len(asked):
            return
        queries = start + asked
        positives, excluded = (
            pairs(None if ragged is None else ragged.take(queries), 0, len(asked)) for ragged in (targets, self.exclude)
        )
        scores = scores if len(asked) == len(scores) and not len(excluded) else scores[asked]
        ranks, found.first_rank[queries], best = _rank_block(scores, positives, excluded, found.max_k, queries)
        found.ranks[span][targets.values[span] >= 0] = ranks
        found.top[queries, : best.shape[1]] = best

    def rows(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """The arrays of the ranking for these queries; they can be filled."""
        found, offsets = self.ranking, self.ranking.targets.offsets
        start, stop = min(start, self.scorer.size), min(stop, self.scorer.size)
        return {"ranks": found.ranks[offsets[start]:offsets[stop]],
                "first_rank": found.first_rank[start:stop], "top": found.top[start:stop]}


def _distinct(targets: Ragged) -> Ragged:
    """Sorts each row and drops repeated positions, but not repeated −1."""
    rows = query_rows(targets)
    order = np.lexsort((targets.values, rows))
    values, rows = np.asarray(targets.values)[order], rows[order]
    keep = np.ones(len(values), bool)
    keep[1:] = (values[1:] != values[:-1]) | (rows[1:] != rows[:-1]) | (values[1:] < 0)
    counts = np.bincount(rows[keep], minlength=len(targets))
    return Ragged.from_lengths(values[keep], counts)


def _in_parts(scorer: Scorer, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
    """(first query, their scores) of so few queries at a time that the scores stay in the processor's cache.

    A `light` scorer scores so few; any other scores them all at once, as a product of few rows takes longer.
    """
    step = max(_CACHED_SCORES // scorer.catalogue, 1)
    wide = step if getattr(scorer, "light", False) else max(stop - start, 1)
    for first in range(start, stop, wide):
        scores = _scores(scorer, first, min(first + wide, stop))
        for at in range(0, len(scores), step):
            yield first + at, scores[at:at + step]


def _scores(scorer: Scorer, start: int, stop: int) -> np.ndarray:
    """float32 [stop − start, catalogue]: the scorer's, checked."""
    scores = np.asarray(scorer.scores(start, stop), np.float32)
    if scores.shape != (stop - start, scorer.catalogue):
        raise EvaluationError(
            f"`scorer.scores({start}, {stop})` must be [{stop - start}, {scorer.catalogue}]. "
            f"Received: shape {scores.shape}. Return one row per query, one column per candidate."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        sums = scores.sum(axis=1)
    if not np.isfinite(sums).all():  # only then can a score be NaN or infinite
        finite_rows("scores", scores, first_row=start)
    return scores


def _rank_block(
    scores: np.ndarray, positives: np.ndarray, excluded: np.ndarray, max_k: int, queries: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns ranks [positives], first rank [rows] and recommended positions [rows, ≤ max_k].

    scores: of the rows; −inf is written where something is excluded. queries: int64 [rows], each row's query.
    """
    rows = positives[:, 0]
    own = scores[rows, positives[:, 1]]
    if len(excluded):  # else the scores may be read-only
        scores[excluded[:, 0], excluded[:, 1]] = -np.inf
    values, top = best_of_rows(scores, min(max_k + 1, scores.shape[1]))
    best = np.full(len(scores), -np.inf, np.float32)
    np.maximum.at(best, rows, own)
    threshold, deep = np.minimum(best, values[:, -1]), best < values[:, -1]
    at_edge = deep.copy()
    at_edge[rows[own == threshold[rows]]] = True  # in all other rows no number at the threshold is asked for
    at_least, above = (np.zeros(len(scores), np.int64) for _ in range(2))
    for row in np.flatnonzero(at_edge):
        at_least[row] = np.count_nonzero(scores[row] >= threshold[row])
    for row in np.flatnonzero(deep):
        above[row] = np.count_nonzero(scores[row] > threshold[row])
    as_good = _number(np.greater_equal, values, at_least, threshold, rows, own)
    better = _number(np.greater, values, above, np.where(deep, threshold, -np.inf), rows, own)
    ranks = better + 1 + drawn_places(queries[rows], positives[:, 1], own, as_good - better)
    first_rank = np.full(len(scores), np.iinfo(np.int64).max)
    np.minimum.at(first_rank, rows, ranks)
    first_rank[np.bincount(rows, minlength=len(scores)) == 0] = 0
    return np.minimum(ranks, max_k + 1), first_rank, np.where(values > -np.inf, top, -1)[:, :max_k]


def _number(
    compare: np.ufunc, values: np.ndarray, at_threshold: np.ndarray, threshold: np.ndarray, rows: np.ndarray,
    own: np.ndarray,
) -> np.ndarray:
    """int64 [positives]: candidates whose score compares so with the positive's.

    Exact if the positive is not below the last of the best `values`, or on the row's threshold, whose number is given.
    Otherwise more candidates than `values` holds score higher, and the result is a number beyond any catalogue's size.
    """
    near = np.count_nonzero(compare(values[rows], own[:, np.newaxis]), axis=1)
    far = np.where(own == threshold[rows], at_threshold[rows], np.iinfo(np.int32).max)
    known = own > values[rows, -1] if compare is np.greater_equal else own >= values[rows, -1]
    return np.where(known, near, far)
