"""What a report says, as plain values: gathered by `pipeline.gathering`, drawn by `charts`, written by `page`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

NAMES = {
    "item_knn": "item-kNN", "ease": "EASE", "ials": "iALS", "popularity_last_week": "last week's popularity",
    "bought_before": "bought before", "retrieval": "first stage",
}


def named(system: str) -> str:
    """The name of the model, or of a baseline, as people read it."""
    return NAMES.get(system, system)


@dataclasses.dataclass(frozen=True)
class Value:
    """A mean of one system, with its 95% interval or None."""

    system: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Group:
    """Some targets or queries, such as those of cold items, and a value of each system.

    name: as people read it. size: the number of targets. values: the model's first.
    """

    name: str
    size: int
    values: tuple[Value, ...]


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line of one system: points (x, y), x ascending."""

    system: str
    points: tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Caught:
    """How many targets model and another system find.

    both, model, other, neither: numbers of targets. items: (title, targets found by the model alone), the most first.
    lost: the same of the other system.
    """

    other_name: str
    both: int
    model: int
    other: int
    neither: int
    items: tuple[tuple[str, int], ...]
    lost: tuple[tuple[str, int], ...]


@dataclasses.dataclass(frozen=True)
class MapPoint:
    """A point of the map. kind: the category of an item, or "user". label: whether its title is written beside it:
    0 never, 1 on a wide screen, 2 always.
    """

    x: float
    y: float
    title: str
    kind: str
    label: int = 0


@dataclasses.dataclass(frozen=True)
class Map:
    """Vectors of items and users in two dimensions.

    kinds: the categories by their number of items. column: the one that they come from, or None. explained: the share
    of the variance that each axis has. drawn, of: items on the map, and in the catalogue.
    """

    places: tuple[MapPoint, ...]
    kinds: tuple[str, ...]
    column: str | None
    explained: tuple[float, float]
    drawn: int
    of: int


@dataclasses.dataclass(frozen=True)
class OfferedItem:
    """A title in a list, and whether the user chose it next."""

    title: str
    chosen: bool = False


@dataclasses.dataclass(frozen=True)
class User:
    """One user: the past, newest first, what was chosen next, and the answers of each system."""

    name: str
    events: int
    past: tuple[str, ...]
    chosen: tuple[str, ...]
    answers: Mapping[str, tuple[OfferedItem, ...]]


@dataclasses.dataclass(frozen=True)
class Similar:
    """An item and its nearest ones: (title, similarity)."""

    title: str
    nearest: tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True)
class MetricTable:
    """All metrics: a row each, with a cell (text) for each of `systems`."""

    systems: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Data:
    """What was read. facts: (name, value). rejected: (reason, rows). notes: remarks of the reading.

    events: (Unix milliseconds, events of that span); () in a log without times.
    """

    facts: tuple[tuple[str, str], ...]
    rejected: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]
    events: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Advice:
    """One thing to try, why, how, and the command or setting for it."""

    what: str
    why: str
    how: str = ""
    code: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """The contents of `report/index.html`.

    Attributes:
      run, recipe: names.
      k, depth: the cut-offs of the lists and of the long lists.
      sample: the queries whose answers are looked into; asked: those of the evaluation.
      metric, verdict, meaning: the monitored metric, the outcome in one sentence, and what it means.
      headline: its values, the best first.
      metrics: the table of all.
      epochs: a dict of figures for each, with "epoch", "loss" and `metric`; best_epoch: counted from 1, or None.
      by_popularity: recall@depth in groups of targets by the events of their item.
      groups: recall@k of cold and warm users and items, repeats and discoveries.
      lorenz: cumulative share of the recommended places over the share of the catalogue.
      covered: (system, distinct items in all first k, of the catalogue's items).
      caught: beside popularity, and beside the best baseline.
      index: the entry `index` of `metrics.json`, or None.
      field_weights: {side: {field: weight}}; interests: {"cosine", "overlap"} or None.
    """

    run: str
    recipe: str
    k: int
    depth: int
    sample: int
    asked: int
    metric: str
    verdict: str
    meaning: str
    headline: tuple[Value, ...]
    metrics: MetricTable
    epochs: tuple[Mapping[str, Any], ...]
    best_epoch: int | None
    by_popularity: tuple[Group, ...]
    groups: tuple[Group, ...]
    lorenz: tuple[Curve, ...]
    covered: tuple[tuple[str, int, int], ...]
    caught: tuple[Caught, ...]
    map: Map | None
    users: tuple[User, ...]
    similar: tuple[Similar, ...]
    index: Mapping[str, Any] | None
    field_weights: Mapping[str, Mapping[str, float]]
    interests: Mapping[str, float] | None
    data: Data
    advice: tuple[Advice, ...]


@dataclasses.dataclass(frozen=True)
class ChangedItem:
    """An item in two runs: its targets, how many of them each found, and how often each offered it."""

    title: str
    targets: int
    found: tuple[int, int]
    offered: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The contents of the page of `twotower compare A B --html`.

    Attributes:
      runs: names of A and B.
      k: the cut-off of the lists.
      sample: the queries whose answers are looked into.
      differences: B − A of each metric, with its interval: a `Value` whose system is the metric's name.
      means: {metric: (A's, B's)}.
      verdict: the outcome in one sentence.
      by_popularity: recall@k of both in groups of targets by the events of their item in A's log.
      better, equal, worse: numbers of queries whose metric `metric` rose, stayed or fell in B.
      metric: its name.
      overlap: mean share of the first k answers of A that are among B's.
      gained, lost: items whose targets B finds more, and less often.
      offered_more, offered_less: items by the change of how often they are offered.
      users: those with the largest change, gains and losses in turn.
    """

    runs: tuple[str, str]
    k: int
    sample: int
    metric: str
    verdict: str
    differences: tuple[Value, ...]
    means: Mapping[str, tuple[float, float]]
    by_popularity: tuple[Group, ...]
    better: int
    equal: int
    worse: int
    overlap: float
    gained: tuple[ChangedItem, ...]
    lost: tuple[ChangedItem, ...]
    offered_more: tuple[ChangedItem, ...]
    offered_less: tuple[ChangedItem, ...]
    users: tuple[User, ...]
