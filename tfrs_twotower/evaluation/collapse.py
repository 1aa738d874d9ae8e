"""The collapse alarm: all vectors have one direction, or all users get the same list."""

from dataclasses import dataclass

import numpy as np

_SAME_DIRECTION = 0.99  # mean pairwise cosine
_FLAT = 1.5  # effective rank: hardly more than one axis
_FEW = 0.02  # of the items that the lists could hold
_ENOUGH = 10  # lists' worth of room before few distinct items mean anything


@dataclass(frozen=True)
class Collapse:
    """The figures behind the alarm.

    Attributes:
      query_cosine, candidate_cosine: mean cosine of two different vectors; 0: spread evenly, 1: one direction.
      candidate_rank: effective rank (Roy and Vetterli 2007) of the centred unit candidate vectors: e to the
        entropy of the eigenvalues' shares; at most dim.
      distinct: distinct items in all queries' first ten.
      message: the fault in one sentence, or None.
    """

    query_cosine: float
    candidate_cosine: float
    candidate_rank: float
    distinct: int
    message: str | None


def collapse(queries: np.ndarray, candidates: np.ndarray, top: np.ndarray) -> Collapse:
    """Measures the spread of the vectors and of the recommendations.

    Args:
      queries: [q, dim] or [q, interests, dim].
      candidates: [n, dim].
      top: int [q, k]: recommended candidate positions, best first, −1 pads; the first ten count.
    """
    candidates = _unit(np.asarray(candidates))
    queries = _unit(np.asarray(queries).reshape(-1, candidates.shape[1]))
    first = np.asarray(top)[:, :10]
    first = first[(first >= 0).any(axis=1)]  # a query without a target has none
    distinct = len(np.unique(first[first >= 0]))
    room = min(len(candidates), first.size)
    query_cosine, candidate_cosine = _mean_cosine(queries), _mean_cosine(candidates)
    effective = _effective_rank(candidates)
    faults = []
    if query_cosine > _SAME_DIRECTION:
        faults.append(f"query vectors point one way (mean cosine {query_cosine:.3f})")
    if candidate_cosine > _SAME_DIRECTION:
        faults.append(f"candidate vectors point one way (mean cosine {candidate_cosine:.3f})")
    if candidates.shape[1] > 2 and len(candidates) > 2 and effective < _FLAT:
        faults.append(f"candidate vectors lie on one line (effective rank {effective:.2f})")
    if room >= _ENOUGH * first.shape[1] and distinct <= max(first.shape[1], _FEW * room):
        faults.append(f"all first tens together hold {distinct} of {len(candidates):,} items")
    message = None
    if faults:
        message = (
            f"Collapsed: {'; '.join(faults)}. Lower the learning rate, check the temperature, and add "
            "uniform negatives or a logQ correction."
        )
    return Collapse(query_cosine, candidate_cosine, effective, distinct, message)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)


def _mean_cosine(unit: np.ndarray) -> float:
    """Mean over all pairs of different rows, in one pass: (‖Σ u‖² − Σ ‖u‖²) / (n (n − 1))."""
    if len(unit) < 2:
        return 0.0
    own = np.square(unit).sum()
    return float((np.square(unit.sum(axis=0)).sum() - own) / (len(unit) * (len(unit) - 1)))


def _effective_rank(unit: np.ndarray) -> float:
    centred = unit - unit.mean(axis=0)
    power = np.clip(np.linalg.eigvalsh(centred.T @ centred), 0.0, None)
    if power.sum() <= 1e-12 * len(unit):
        return 0.0
    share = power / power.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))
