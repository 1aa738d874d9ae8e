"""The `Comparison` of two runs that were asked the same queries. It reads files alone, no model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog, UserHistories, read_log
from tfrs_twotower.evaluation import PerQuery, SampledAnswers, compare, read_per_query
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.gathering import lists
from tfrs_twotower.pipeline.gathering.titles import Titles
from tfrs_twotower.report import ChangedItem, Comparison, User, Value

_SHOWN = 12  # items of a table
_USERS = 3  # of gains, and of losses
A, B = "A", "B"


def compared(first: Path, second: Path, metric: str) -> Comparison:
    """The `Comparison` of the runs in two folders, by the metric `metric` of single queries.

    Raises:
      EvaluationError: a run keeps no answers, or the two were asked different queries.
    """
    kept = [read_per_query(folder / runs.REPORT) for folder in (first, second)]
    paired = compare(kept[1], kept[0])
    sides = _Sides(first, second)
    a, b = sides.answers
    ks = runs.read_config(first).recipe.evaluation.ks
    k = min(ks)
    gain = kept[1].per_query[metric] - kept[0].per_query[metric]
    told = [f"{name}@{at}" for name in ("ndcg", "recall", "hit_rate") for at in (min(ks), max(ks))] + ["mrr"]
    shown = [name for name in dict.fromkeys((metric, *told)) if name in paired]
    items = _changes(sides, k)
    by_found = sorted(items, key=lambda item: item.found[1] - item.found[0])
    by_offered = sorted(items, key=lambda item: item.offered[1] - item.offered[0])
    return Comparison(
        runs=(_name(first), _name(second)), k=k, sample=len(a), metric=metric, verdict=_verdict(paired[metric], metric),
        differences=tuple(Value(name, paired[name]["difference"], *paired[name]["interval"]) for name in shown),
        means={name: _means(kept, name) for name in shown},
        by_popularity=lists.by_popularity(a, sides.log.item_counts(np.flatnonzero(~sides.log.again)), {
            A: a.found("model", k), B: b.found("model", k)}),
        better=int((gain > 0).sum()), equal=int((gain == 0).sum()), worse=int((gain < 0).sum()),
        overlap=_overlap(a.tops["model"][:, :k], b.tops["model"][:, :k]),
        gained=_ends(by_found[::-1], "found"), lost=_ends(by_found, "found"),
        offered_more=_ends(by_offered[::-1], "offered"), offered_less=_ends(by_offered, "offered"),
        users=sides.users(_extremes(gain[a.asked])),
    )


class _Sides:
    """Both runs' answers, as item rows of the first run's table; what only the second has, comes behind it.

    log: the first run's.
    """

    def __init__(self, first: Path, second: Path) -> None:
        configs = [runs.read_config(folder) for folder in (first, second)]
        self.log, other = (read_log(folder / runs.LOG)[0] for folder in (first, second))
        self._titles = [Titles(log, config.recipe.title) for log, config in zip((self.log, other), configs)]
        a, b = (SampledAnswers.read(folder / runs.REPORT) for folder in (first, second))
        rows = _rows_in(self.log, other)
        moved = np.where(b.tops["model"] >= 0, rows[b.tops["model"]], -1)
        self.answers = a, SampledAnswers(a.asked, a.user, a.row, a.targets, {"model": moved})

    def titles(self, rows: np.ndarray | Sequence[int]) -> list[str]:
        """Titles of such rows."""
        rows, size = np.asarray(rows, np.int64), self.log.items.num_rows
        found = np.empty(len(rows), object)
        for titles, mask, start in zip(self._titles, (rows < size, rows >= size), (0, size)):
            found[mask] = titles(rows[mask] - start)
        return found.tolist()

    def users(self, which: Sequence[int]) -> tuple[User, ...]:
        """The users of some queries, with the answers of both."""
        a, b = self.answers
        own = lists.users(self.log, UserHistories(self.log, ~self.log.again), a, (), self.titles, which)
        return tuple(
            User(user.name, user.events, user.past, user.chosen, {
                name: lists.listed(side.tops["model"][i], a.targets.row(i), self.titles)
                for name, side in ((A, a), (B, b))
            })
            for user, i in zip(own, which)
        )


def _rows_in(log: InteractionLog, other: InteractionLog) -> np.ndarray:
    """int64 [items of `other`]: the row of each in `log`, or a row behind its table."""
    ids = other.items[c.ITEM_ID].combine_chunks()
    found = pc.index_in(ids.cast(log.items[c.ITEM_ID].type), value_set=log.items[c.ITEM_ID].combine_chunks())
    behind = log.items.num_rows + np.arange(len(ids))
    return np.where(found.is_valid().to_numpy(zero_copy_only=False), found.fill_null(0).to_numpy(), behind)


def _changes(sides: _Sides, k: int) -> list[ChangedItem]:
    """The items that are targets, or among the first k answers, of either."""
    a, b = sides.answers
    values = a.targets.values
    tops = [side.tops["model"][:, :k] for side in (a, b)]
    rows = np.unique(np.concatenate([values, *map(np.ravel, tops)]))
    rows = rows[rows >= 0]

    def times(items: np.ndarray) -> list[int]:
        items = items[items >= 0]
        return np.bincount(np.searchsorted(rows, items), minlength=len(rows)).tolist()

    targets = times(values)
    found = [times(values[side.found("model", k)]) for side in (a, b)]
    offered = [times(top) for top in tops]
    changed = [i for i in range(len(rows)) if found[0][i] != found[1][i] or offered[0][i] != offered[1][i]]
    kept = _furthest(changed, found) | _furthest(changed, offered)
    names = dict(zip(kept, sides.titles(rows[list(kept)])))
    return [ChangedItem(names[i], targets[i], (found[0][i], found[1][i]), (offered[0][i], offered[1][i])) for i in kept]


def _furthest(changed: Sequence[int], pair: Sequence[Sequence[int]]) -> set[int]:
    """Those with the largest changes both ways: more than any table shows."""
    order = sorted(changed, key=lambda i: pair[1][i] - pair[0][i])
    return {*order[:_SHOWN], *order[-_SHOWN:]}


def _ends(items: Sequence[ChangedItem], field: str) -> tuple[ChangedItem, ...]:
    """The first items with a change of `field` in the direction of the first one."""
    changes = [(item, getattr(item, field)[1] - getattr(item, field)[0]) for item in items]
    if not changes or not changes[0][1]:
        return ()
    return tuple(item for item, change in changes[:_SHOWN] if change * changes[0][1] > 0)


def _extremes(gain: np.ndarray) -> list[int]:
    """Places of the largest gains and losses, in turn."""
    order = [int(i) for i in np.argsort(gain, kind="stable") if np.isfinite(gain[i])]
    losses, gains = ([i for i in side[:_USERS] if gain[i] * sign > 0] for side, sign in ((order, -1), (order[::-1], 1)))
    longest = max(len(losses), len(gains))
    return [i for pair in zip(_padded(gains, longest), _padded(losses, longest)) for i in pair if i >= 0]


def _padded(places: list[int], length: int) -> list[int]:
    return places + [-1] * (length - len(places))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """The mean share of the answers in a that are in b."""
    same = (a[:, :, np.newaxis] == b[:, np.newaxis, :]).any(axis=2) & (a >= 0)
    return float(same.sum() / max((a >= 0).sum(), 1))


def _means(kept: Sequence[PerQuery], name: str) -> tuple[float, float]:
    return float(np.nanmean(kept[0].per_query[name])), float(np.nanmean(kept[1].per_query[name]))


def _verdict(found: dict, metric: str) -> str:
    low, high = found["interval"]
    said = "better than A" if low > 0 else "worse than A" if high < 0 else "not clearly different from A"
    return f"In {metric} B is {said}: {found['difference']:+.4f}, 95% interval [{low:+.4f}, {high:+.4f}]."


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"
