"""What was served, beside what was trained on."""

import json
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog, of_kinds
from tfrs_twotower.features import Window
from tfrs_twotower.watching.distributions import compare

_SAMPLE = 50_000  # events and answers whose features are compared
_TOP = 0.01  # the share of the catalogue that counts as popular
HISTORY = "history_length"


def of_queries(answers: pa.Table, inputs: Collection[str]) -> pa.Table:
    """The answers to queries, which have features: no items like an item, none by a vector or a stranger's answers.

    Args:
      answers: of `read_answers`.
      inputs: the names of a query's features.
    """
    asked = [not json.loads(text).keys().isdisjoint(inputs) for text in answers["features"].to_pylist()]
    return answers.filter(pa.array(asked, pa.bool_()))


def watch_features(
    log: InteractionLog, answers: pa.Table, history: Window
) -> tuple[dict[str, dict], dict[str, float]]:
    """Compares the features of answers with those of the events of a log.

    Args:
      log: of the run. A user's column counts once for each event.
      answers: of `of_queries`.
      history: the `Window` of the past that the model reads.

    Returns:
      ({feature: distances as of `compare`}, {share: its value}). Features are those that the log has as columns, and
      `history_length`. Shares are `unknown_users`, of the answers, and `unknown_history_items`, of the items in pasts.
    """
    rng = np.random.default_rng(0)
    once = np.flatnonzero(~log.again)
    rows = rng.choice(once, min(_SAMPLE, len(once)), replace=False)
    texts = answers["features"].to_pylist()
    asked = rng.choice(len(texts), min(_SAMPLE, len(texts)), replace=False)
    served, people = [json.loads(texts[row]) for row in asked], answers[c.USER_ID].take(pa.array(asked))
    sizes = len(np.unique(log.user[rows])), count_users(people)
    found = {}
    for name in sorted({name for features in served for name in features} - {c.USER_ID, c.TIMESTAMP}):
        trained = _trained(log, name, rows)
        if trained is not None:
            found[name] = compare(_flat(trained), _flat([features.get(name) for features in served]), sizes)
    pasts = [features[c.HISTORY_ITEM_ID] for features in served if c.HISTORY_ITEM_ID in features]
    if pasts:
        found[HISTORY] = compare(
            _lengths(log, history.kinds)[rows].clip(max=history.length).tolist(), [len(past) for past in pasts], sizes)
    users, items = (_texts(table[name]) for table, name in ((log.users, c.USER_ID), (log.items, c.ITEM_ID)))
    return found, {
        "unknown_users": _absent(answers[c.USER_ID].to_pylist(), users),
        "unknown_history_items": _absent([str(item) for past in pasts for item in past], items),
    }


def count_users(users: pa.ChunkedArray) -> int:
    """The number of different users; each answer to nobody known counts as one."""
    return len(users.filter(pc.not_equal(users, "")).unique()) + pc.sum(pc.equal(users, "")).as_py()


def watch_items(log: InteractionLog, answers: pa.Table) -> dict[str, float]:
    """Shares of the answers' items: `coverage`, of the log's items that were answered at all; `popular_answered` and
    `popular_trained`, of the places and of the training events that the most popular 1% of the items take."""
    ids = np.array([str(item) for item in log.items[c.ITEM_ID].to_pylist()], object)
    counts = log.item_counts(np.flatnonzero(~log.again))
    top = set(ids[np.argsort(-counts, kind="stable")[:max(1, int(_TOP * len(ids)))]].tolist())
    placed = answers[c.ITEM_ID].combine_chunks().flatten().to_pylist()
    return {
        "coverage": len(set(placed) & set(ids.tolist())) / len(ids),
        "popular_answered": sum(item in top for item in placed) / max(1, len(placed)),
        "popular_trained": float(np.sort(counts)[::-1][:len(top)].sum() / max(1, counts.sum())),
    }


def _trained(log: InteractionLog, name: str, rows: np.ndarray) -> list[Any] | None:
    """The column's values of some events; None if the log lacks it."""
    for table, at in ((log.context, rows), (log.users, log.user[rows])):
        if name in table.column_names:
            values = table[name].take(pa.array(at)).to_pylist()
            return [None if isinstance(v, float) and v != v else v for v in values]
    return None


def _flat(values: Sequence[Any]) -> list[Any]:
    """The values, those of lists one by one; "" is none."""
    single = [v for value in values for v in (value if isinstance(value, (list, tuple)) else [value])]
    return [None if v == "" else v for v in single]


def _lengths(log: InteractionLog, kinds: Sequence[str]) -> np.ndarray:
    """int64 [events]: how many events of these kinds, () for all, of the same user come before each one."""
    order, of = np.argsort(log.user, kind="stable"), of_kinds(log, kinds)
    counted = (~log.again if of is None else of & ~log.again).astype(np.int64)[order]
    before = np.cumsum(counted) - counted
    users = log.user[order]
    lengths = np.empty(len(users), np.int64)
    lengths[order] = before - before[np.searchsorted(users, users)]
    return lengths


def _absent(values: Sequence[str], known: set[str]) -> float:
    return sum(value not in known for value in values) / max(1, len(values))


def _texts(column: pa.ChunkedArray) -> set[str]:
    return set(map(str, column.to_pylist()))
