"""What the lists of answers say: by popularity, their concentration, what each finds, and six users."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog, UserHistories
from tfrs_twotower.evaluation import SampledAnswers, resampled_means
from tfrs_twotower.report import Caught, Curve, Group, OfferedItem, User, Value

_GROUPS = 8  # of targets, by the popularity of their items
_POINTS = 80  # of a curve
_REPLICATES = 300
_SHOWN = 8  # titles of a list
_USERS = 6
CHOSEN = "what users chose"

_Titles = Callable[[np.ndarray | Sequence[int]], list[str]]


def by_popularity(
    answers: SampledAnswers, counts: np.ndarray, found: Mapping[str, np.ndarray]
) -> tuple[Group, ...]:
    """The share of targets found, over groups of about as many targets each, those of rare items first.

    Args:
      counts: int [item rows], the events of each item.
      found: {system: bool [targets]}.
    """
    of_target = counts[answers.targets.values]
    edges = np.unique(np.quantile(of_target, np.linspace(0, 1, _GROUPS + 1)[1:-1], method="lower"))
    group = np.searchsorted(edges, of_target, side="left")  # a group ends with its edge
    groups = []
    for number in np.unique(group):
        mask = group == number
        low, high = int(of_target[mask].min()), int(of_target[mask].max())
        values = [_share(name, hits, mask, answers) for name, hits in found.items()]
        groups.append(Group(f"{low:,}" if low == high else f"{low:,}–{high:,}", int(mask.sum()), tuple(values)))
    return tuple(groups)


def _share(name: str, hits: np.ndarray, mask: np.ndarray, answers: SampledAnswers) -> Value:
    """The share of the targets of `mask` that are found, with an interval over queries."""
    size, of_query = len(answers), answers.of_query
    sums = np.stack([np.bincount(of_query[mask], weights, minlength=size) for weights in (hits[mask], None)], axis=1)
    sums = sums[sums[:, 1] > 0]
    drawn = resampled_means(sums, _REPLICATES, seed=0)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return Value(name, float(hits[mask].mean()), float(low), float(high))


def lorenz(answers: SampledAnswers, systems: Sequence[str], k: int, catalogue: int) -> tuple[Curve, ...]:
    """Cumulative shares of the first k places, and of what users chose, the most frequent items first."""
    lists = [(name, answers.tops[name][:, :k]) for name in systems]
    curves = []
    for name, items in [*lists, (CHOSEN, answers.targets.values)]:
        times = np.sort(np.unique(items[items >= 0], return_counts=True)[1])[::-1]
        shares = np.concatenate([[0.0], np.cumsum(times) / max(times.sum(), 1)])
        at = np.unique(np.round(np.linspace(0, 1, _POINTS) ** 2 * (len(shares) - 1)).astype(int))
        points = [(float(i / catalogue), float(shares[i])) for i in at]
        curves.append(Curve(name, (*points, (1.0, 1.0)) if points[-1][0] < 1 else tuple(points)))
    return tuple(curves)


def covered(
    answers: SampledAnswers, systems: Sequence[str], k: int, catalogue: int
) -> tuple[tuple[str, int, int], ...]:
    """(system, distinct items in its first k answers, of the catalogue's items) of each."""
    tops = [(name, answers.tops[name][:, :k]) for name in systems]
    return tuple((name, len(np.unique(top[top >= 0])), catalogue) for name, top in tops)


def caught(answers: SampledAnswers, other: str, k: int, titles: _Titles) -> Caught:
    """What the model finds and another system does not, and the other way round."""
    model, rival = answers.found("model", k), answers.found(other, k)
    only, lost = model & ~rival, rival & ~model
    return Caught(
        other, int((model & rival).sum()), int(only.sum()), int(lost.sum()), int((~model & ~rival).sum()),
        _most(answers.targets.values[only], titles), _most(answers.targets.values[lost], titles),
    )


def _most(items: np.ndarray, titles: _Titles) -> tuple[tuple[str, int], ...]:
    """(title, times) of the most frequent items."""
    found, times = np.unique(items[items >= 0], return_counts=True)
    order = np.argsort(-times, kind="stable")[:_SHOWN]
    return tuple(zip(titles(found[order]), times[order].tolist()))


def users(
    log: InteractionLog, history: UserHistories, answers: SampledAnswers, systems: Sequence[str], titles: _Titles,
    which: Sequence[int] | None = None,
) -> tuple[User, ...]:
    """Some users. which: places among the answers; None: six queries with a past, drawn at random."""
    past, _ = history.before(answers.row, 1)
    if which is None:
        with_past = np.flatnonzero(past[:, 0] >= 0)
        which = np.sort(np.random.default_rng(0).permutation(with_past)[:_USERS]).tolist()
    found = []
    for i in which:
        items, _ = history.before(answers.row[i: i + 1], _SHOWN)
        targets = answers.targets.row(i)
        known = items[0][items[0] >= 0][::-1]
        name = str(log.users[c.USER_ID][int(answers.user[i])].as_py())
        before = slice(answers.row[i])
        events = int(np.count_nonzero((log.user[before] == answers.user[i]) & ~log.again[before]))
        lists = {s: listed(answers.tops[s][i], targets, titles) for s in systems}
        found.append(User(name, events, tuple(titles(known)), tuple(titles(targets[targets >= 0][:_SHOWN])), lists))
    return tuple(found)


def listed(top: np.ndarray, targets: np.ndarray, titles: _Titles) -> tuple[OfferedItem, ...]:
    """The first item rows of `top` by their titles; those among the targets are marked."""
    items = top[top >= 0][:_SHOWN]
    return tuple(map(OfferedItem, titles(items), np.isin(items, targets).tolist()))
