"""Views of an evaluation for users who repeat items: all targets, repeats, or discoveries."""

import weakref

import numpy as np

from tfrs_twotower.data.queries import Queries
from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.evaluation.config import EvaluationConfig

ALL, REPEATS, DISCOVERY = "all", "repeats", "discovery"
VIEWS = (REPEATS, DISCOVERY)
MANY = 0.05  # repeats count from this share of the targets on
_SHARES: weakref.WeakKeyDictionary[Queries, float] = weakref.WeakKeyDictionary()  # a training asks three times


def query_rows(ragged: Ragged) -> np.ndarray:
    """int64 [values]: the row of each value."""
    return np.repeat(np.arange(len(ragged), dtype=np.int64), ragged.lengths)


def is_in(targets: Ragged, seen: Ragged) -> np.ndarray:
    """bool [values]: whether a value of the `Ragged` targets is in the same row of `seen`; −1 never is."""
    span = 1 + max((int(r.values.max()) for r in (targets, seen) if len(r.values)), default=0)
    asked, known = _cells(targets, span), np.sort(_cells(seen, span))  # a twentieth of the time of `np.isin`
    if not len(known):
        return np.zeros(len(asked), bool)
    return (targets.values >= 0) & (known[np.minimum(np.searchsorted(known, asked), len(known) - 1)] == asked)


def kept(ragged: Ragged, mask: np.ndarray) -> Ragged:
    """`Ragged`: the values where `mask` [values] holds; rows may become empty."""
    rows = query_rows(ragged)
    return Ragged.from_lengths(ragged.values[mask], np.bincount(rows[mask], minlength=len(ragged)))


def repeat_share(queries: Queries) -> float:
    """The share of the targets of `Queries` that the query's user had met before; 0 without targets."""
    if queries not in _SHARES:
        found = is_in(queries.targets, queries.seen)
        _SHARES[queries] = float(found.mean()) if len(found) else 0.0
    return _SHARES[queries]


def viewed(queries: Queries, view: str) -> tuple[Ragged, Ragged | None]:
    """(targets, excluded items or None) of `Queries` in one view, both `Ragged` of item rows.

    ALL: all targets, nothing excluded. REPEATS: the seen targets, nothing excluded. DISCOVERY: the unseen targets; all
    seen items are excluded. They are excluded as targets and from the ranking: if only the seen items that are no
    targets were excluded, the ranking would reveal which seen items are targets.
    """
    if view == ALL:
        return queries.targets, None
    seen = is_in(queries.targets, queries.seen)
    if view == REPEATS:
        return kept(queries.targets, seen), None
    return kept(queries.targets, ~seen), queries.seen


def chosen(config: EvaluationConfig, queries: Queries, timed: bool = True) -> tuple[bool, str | None]:
    """(`exclude_seen` of an `EvaluationConfig`, chosen by validation's `Queries` if None; a sentence about it).

    In a log without times, all events of a user with an item are on one side of the split: nothing is known of repeats.
    """
    if config.exclude_seen is None and not timed:
        return True, ("Without times it is not known who comes back to an item: seen items are excluded. If people do, "
                      "say evaluation.exclude_seen=false.")
    share = repeat_share(queries)
    found = f"{share:.1%} of the validation targets are items that the user had met before"
    if config.exclude_seen is None:
        many = share > MANY
        rule = "repeats count, nothing is excluded" if many else "seen items are excluded, as targets too"
        return not many, f"{found}: {rule} (evaluation.exclude_seen={str(not many).lower()})."
    if config.exclude_seen and share > MANY:
        return True, f"{found}; evaluation.exclude_seen=true leaves them out of the figures."
    return config.exclude_seen, None


def _cells(ragged: Ragged, span: int) -> np.ndarray:
    """int64 [values]: (row, value) as one number; −1 for −1."""
    values = np.asarray(ragged.values, np.int64)
    return np.where(values >= 0, query_rows(ragged) * span + values, -1)
