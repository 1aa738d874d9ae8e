"""Builds the index of a configuration, with the cheapest setting that reaches the target recall."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import extras, progress
from tfrs_twotower.errors import IndexingError, invalid
from tfrs_twotower.index import checks, memory, recall
from tfrs_twotower.index.candidate_index import CandidateIndex
from tfrs_twotower.index.config import AUTO, IndexConfig
from tfrs_twotower.index.exact import Exact, ExactKind
from tfrs_twotower.index.kind import IndexKind, Sweep, kind_of

# The largest number of queries: half to choose the settings, half to report the recall.
_QUERIES = 1000
_LEAST_QUERIES = 20
_CURVE_QUERIES, _CURVE_REPEATS = 200, 50
# Settings are accepted when the recall less this many standard errors reaches the target.
_MARGIN = 2.0


@dataclasses.dataclass(frozen=True)
class IndexReport:
    """The index that was built, and its recall on queries that chose no setting.

    recall_at_10, recall_at_k: against exact search. latency_*: one query, milliseconds, from Python.
    memory_bytes: an estimate. queries: the number that was held out for this report. curve: (effort, recall at k,
    latency_p50_ms, whether it was chosen) of a few settings from the cheapest on; () where nothing is tuned.
    """

    kind: str
    settings: dict
    k: int
    recall_at_10: float
    recall_at_k: float
    target_recall: float
    meets_target: bool
    latency_p50_ms: float
    latency_p99_ms: float
    build_seconds: float
    memory_bytes: int
    queries: int
    curve: Sequence[Sequence[float]] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; recall is named `recall@10` and `recall@<k>`."""
        values = {**dataclasses.asdict(self), "curve": [list(point) for point in self.curve]}
        return {
            "recall@10": values.pop("recall_at_10"), f"recall@{self.k}": values.pop("recall_at_k"), **values
        }


def build(
    config: IndexConfig, vectors: np.ndarray, queries: np.ndarray | tf.Tensor | None = None, seed: int = 0
) -> tuple[CandidateIndex, IndexReport]:
    """Returns (index, IndexReport).

    config: IndexConfig. vectors: float32 [n, dim], one row a candidate. queries: float32 [q, dim],
    q ≥ 20, held-out outputs of the query tower; by default a sample of the candidates themselves, whose
    recall may differ from that of real queries. If the target cannot be reached, there is no error: the report has
    `meets_target=False`.

    Raises:
      IndexingError: see `checks` and `memory.check`; fewer than 20 queries.
      MissingExtraError: the kind needs a package that is not installed, as "scann" does.
    """
    vectors = checks.candidate_vectors(vectors)
    kind = chosen_kind(config, len(vectors))
    chosen, held_out = _halves(vectors, queries, seed)
    memory.check(kind, vectors.shape, config.leaves)
    start = time.perf_counter()
    exact = Exact(vectors)
    index: CandidateIndex = exact
    tuned = None
    if not isinstance(kind, ExactKind):
        with progress.bar("Tuning the index") as advance:
            index, tuned = _tuned(kind, config, vectors, chosen, exact, seed, advance)
    seconds = time.perf_counter() - start
    report = _report(kind, index, exact, config, vectors, held_out, seconds)
    if tuned is not None:
        curve = _curve(index, *tuned, exact, config.k, vectors, held_out[:_CURVE_QUERIES])
        report = dataclasses.replace(report, curve=curve)
    return index, report


def chosen_kind(config: IndexConfig, size: int) -> IndexKind:
    """The `IndexKind` of a configuration, for a number of candidates."""
    if config.kind != AUTO:
        return config.whole(kind_of(config.kind))
    chosen = "exact" if size < config.exact_below else "scann" if extras.available("scann") else "ivf"
    return config.whole(kind_of(chosen))


def _halves(vectors: np.ndarray, queries: np.ndarray | tf.Tensor | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint sets of at most 500 queries each, drawn by the seed."""
    generator = np.random.default_rng(seed)
    if queries is None:
        queries = vectors[generator.integers(0, len(vectors), _QUERIES)]
    queries = np.asarray(checks.query_vectors(queries, vectors.shape[1]))
    if len(queries) < _LEAST_QUERIES or not np.isfinite(queries).all():
        raise IndexingError(
            invalid("queries", f"hold at least {_LEAST_QUERIES} finite vectors to measure recall with",
                    queries.shape, "Pass more outputs of the query tower, or none to use the candidates.")
        )
    order = generator.permutation(len(queries))[:_QUERIES]
    return queries[order[::2]], queries[order[1::2]]


def _tuned(
    kind: IndexKind, config: IndexConfig, vectors: np.ndarray, queries: np.ndarray, exact: Exact, seed: int,
    advance: Callable[..., None],
) -> tuple[CandidateIndex, tuple[Sweep, int] | None]:
    """An index of this kind with the cheapest settings that hold the target, else those that find most; and these.
    """
    advance(0, "building it")
    index = kind.build(vectors, config, seed)
    sweeps = kind.sweeps(index, config)
    if not sweeps:
        return index, None
    truth = recall.true_scores(exact, queries, config.k)

    def holds(effort: int, sweep: Sweep) -> bool:
        sweep.turn(effort)
        found = recall.per_query(index, truth, vectors, queries, config.k)
        advance(1, f"recall@{config.k} {found.mean():.3f} with {effort:,}")
        return found.mean() - _MARGIN * found.std() / math.sqrt(len(found)) >= config.target_recall

    enough = [(sweep, _fewest(sweep.least, sweep.most, functools.partial(holds, sweep=sweep))) for sweep in sweeps]
    held = [(sweep, effort) for sweep, effort in enough if effort is not None]
    sweep, effort = min(held, key=lambda choice: choice[0].cost(choice[1]), default=(sweeps[-1], sweeps[-1].most))
    sweep.turn(effort)
    return index, (sweep, effort)


def _curve(
    index: CandidateIndex, sweep: Sweep, chosen: int, exact: Exact, k: int, vectors: np.ndarray, queries: np.ndarray
) -> tuple[tuple[float, float, float, bool], ...]:
    """`IndexReport.curve`, around the chosen effort, which is set again."""
    truth, found = recall.true_scores(exact, queries, k), []
    around = {sweep.least, chosen, *(round(chosen * 2.0 ** step) for step in (-3, -2, -1, 1, 2))}
    for effort in sorted(effort for effort in around if sweep.least <= effort <= sweep.most):
        sweep.turn(effort)
        share = float(recall.per_query(index, truth, vectors, queries, k).mean())
        found.append((effort, share, recall.latency(index, queries, k, _CURVE_REPEATS)[0], effort == chosen))
    sweep.turn(chosen)
    return tuple(found)


def _fewest(least: int, most: int, holds: Callable[[int], bool]) -> int | None:
    """The fewest of [least, most] that hold the target, within a sixteenth; None if `most` do not."""
    low, high = least - 1, least
    while not holds(min(high, most)):  # doubling: few probes are cheap to try
        if high >= most:
            return None
        low, high = high, 2 * high
    high = min(high, most)
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _report(
    kind: IndexKind, index: CandidateIndex, exact: Exact, config: IndexConfig, vectors: np.ndarray,
    queries: np.ndarray, seconds: float,
) -> IndexReport:
    if index.exact:
        at_10 = at_k = 1.0
    else:
        truth = recall.true_scores(exact, queries, max(config.k, 10))
        at_10 = float(recall.per_query(index, truth, vectors, queries, 10).mean())
        at_k = float(recall.per_query(index, truth, vectors, queries, config.k).mean())
    p50, p99 = recall.latency(index, queries, config.k)
    settings = index.settings()
    return IndexReport(
        kind=kind.called(), settings=settings, k=config.k, recall_at_10=at_10, recall_at_k=at_k,
        target_recall=config.target_recall, meets_target=at_k >= config.target_recall,
        latency_p50_ms=p50, latency_p99_ms=p99, build_seconds=seconds,
        memory_bytes=kind.memory_bytes(vectors.shape, settings.get("leaves")),
        queries=len(queries),
    )
