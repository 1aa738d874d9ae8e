"""What is asked of a ranking where people come back to items: all of it, what comes again, or what is new."""

import numpy as np

from tfrs_twotower.data.ragged import Ragged

ALL, REPEATS, DISCOVERY = "all", "repeats", "discovery"
VIEWS = (REPEATS, DISCOVERY)
MANY = 0.05  # share of repeats among the targets from which on they are part of the task


def query_rows(ragged):
    """int64 [values]: the row of each value."""
    return np.repeat(np.arange(len(ragged), dtype=np.int64), ragged.lengths)


def is_in(targets, seen):
    """bool [values]: which values of each row of the `Ragged` targets stand in the same row of `seen`; no −1 does."""
    span = 1 + max((int(r.values.max()) for r in (targets, seen) if len(r.values)), default=0)
    return (targets.values >= 0) & np.isin(_cells(targets, span), _cells(seen, span))


def kept(ragged, mask):
    """`Ragged`: the values where `mask` [values] holds; rows may become empty."""
    rows = query_rows(ragged)
    return Ragged.from_lengths(ragged.values[mask], np.bincount(rows[mask], minlength=len(ragged)))


def repeat_share(queries):
    """Of all targets of `Queries`, the share that the query's user had met before; 0 without targets."""
    found = is_in(queries.targets, queries.seen)
    return float(found.mean()) if len(found) else 0.0


def viewed(queries, view):
    """(targets, what is not ranked or None) of `Queries` in one view, both `Ragged` of item rows.

    ALL: every target, nothing excluded. REPEATS: the targets that were seen, nothing excluded. DISCOVERY: the
    targets that were not seen, and what was seen is not ranked: excluded from both sides, as a ranker that is
    spared the seen items which are no targets would be told which of them come again.
    """
    if view == ALL:
        return queries.targets, None
    seen = is_in(queries.targets, queries.seen)
    if view == REPEATS:
        return kept(queries.targets, seen), None
    return kept(queries.targets, ~seen), queries.seen


def chosen(config, queries):
    """(`exclude_seen` resolved, a sentence that says so) of an `EvaluationConfig`, by validation's `Queries`."""
    share = repeat_share(queries)
    found = f"{share:.1%} of the validation targets are items that the user had met before"
    if config.exclude_seen is None:
        many = share > MANY
        rule = "repeats count, nothing is excluded" if many else "seen items are excluded, as targets too"
        return not many, f"{found}: {rule} (evaluation.exclude_seen={str(not many).lower()})."
    if config.exclude_seen and share > MANY:
        return True, f"{found}; evaluation.exclude_seen=true leaves them out of the figures."
    return config.exclude_seen, None


def _cells(ragged, span):
    """int64 [values]: (row, value) as one number; −1 for −1."""
    values = np.asarray(ragged.values, np.int64)
    return np.where(values >= 0, query_rows(ragged) * span + values, -1)
