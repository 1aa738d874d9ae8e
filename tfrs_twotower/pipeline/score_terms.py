"""The terms of the score beside the towers: popularity, neighbours, repeats (ARCHITECTURE, "The score")."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog, Queries, Ragged, UserHistories, log_popularity
from tfrs_twotower.evaluation import DotScorer, Popularity, Scorer, TrainingEvents, history_matrix
from tfrs_twotower.features import fingerprints, key_tensor
from tfrs_twotower.models import Neighbours, NeighbourVectors, clearly_better, climbed, middle, repeated
from tfrs_twotower.models.repeats import NONE
from tfrs_twotower.pipeline.neighbour_trials import NeighbourTrials
from tfrs_twotower.pipeline.trials import Trials
from tfrs_twotower.recipe import ModelConfig
from tfrs_twotower.training import NeighbourFit, neighbours, pooled

_EVENTS = 5_000_000  # the number of newest events from which neighbours are learned
_SETTINGS: Any = object()  # in place of a half-life
_PAST = 2**22  # events of histories read at a time

_Value = TypeVar("_Value")


class ScoreTerms:
    """The terms, from the training events of a log.

    Args:
      log: an `InteractionLog`.
      known: int64, the log rows that training uses.
      catalogue: int32, the item rows that can be recommended.
      counts: int64 [catalogue]: training events of each.
      history: a `UserHistories` of the log.
      request_time: whether a query has the time of the request.
      settings: a `ModelConfig`. Until `choose`, the first half-life, penalty and length are used.
      seed: of the neighbours' factorisation.
    """

    def __init__(
        self, log: InteractionLog, known: np.ndarray, catalogue: np.ndarray, counts: np.ndarray, history: UserHistories,
        request_time: bool, settings: ModelConfig, seed: int,
    ) -> None:
        self._log, self._known, self._catalogue, self._counts = log, known, catalogue, counts
        self._history, self._request_time = history, request_time
        self.settings, self._seed = settings, seed
        self._places = np.full(log.items.num_rows, -1, np.int32)
        self._places[catalogue] = np.arange(len(catalogue), dtype=np.int32)
        self._last = {}  # the last results about histories of queries

    @functools.cached_property
    def events(self) -> TrainingEvents:
        """The training events; of a large log they take much memory."""
        log, known = self._log, self._known
        items = self.positions(log.item[known])
        return TrainingEvents(log.user[known], items, log.timestamp[known], len(self._catalogue))

    def positions(self, items: np.ndarray) -> np.ndarray:
        """Catalogue positions of item rows; −1 outside the catalogue."""
        return self._places[items]

    def popular(self, half_life: float | None) -> np.ndarray:
        """float64 [catalogue]: training events of each item; one `half_life` days older than the newest counts half.

        They sum to the number of events. Then an item with any event is raised to at least 1. None: all count alike.
        """
        counts = self._counts.astype(np.float64)
        if half_life is None:
            return counts
        times = self._log.timestamp[self._known]
        weight = 0.5 ** ((times.max() - times) / 86_400.0 / half_life)
        weight = np.bincount(self._log.item[self._known], weight, self._log.items.num_rows)[self._catalogue]
        return np.maximum(weight * (counts.sum() / weight.sum()), np.minimum(counts, 1.0))

    @functools.cached_property
    def log_popularity(self) -> np.ndarray:
        """float32 [catalogue]: log p(item)."""
        return log_popularity(self.popular(self.settings.popularity_half_lives[0])).astype(np.float32)

    @functools.cached_property
    def neighbours(self) -> NeighbourVectors:
        """The `NeighbourVectors`."""
        n = self.settings.neighbours
        return self._fit().vectors(n.penalties[0], n.dims[0], self._seed, n.item_powers[0])

    def keep_neighbours(self, folder: str | Path) -> None:
        """Writes them beside the checkpoints of their training."""
        neighbours.keep(folder, self._item_keys, self.neighbours)

    def read_neighbours(self, folder: str | Path) -> None:
        """Loads the vectors that `keep_neighbours` wrote, in this run or in another one with the same items."""
        self.neighbours = neighbours.kept(folder, self._item_keys)

    def take_neighbours(self, other: "ScoreTerms") -> None:
        """Takes those of terms with the same events and settings, if they were fitted."""
        if "neighbours" in vars(other):
            self.neighbours = other.neighbours

    def share_neighbours(self, folder: Path) -> None:
        """Loads those that a training on the same events with the same settings keeps in a folder, or keeps its own
        there."""
        if self.settings.neighbours is None:
            return
        if (folder / neighbours.FILE).exists():
            self.read_neighbours(folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self.keep_neighbours(folder)

    def pooled(self, queries: Queries) -> np.ndarray:
        """As `pooled_at`, for `Queries`; the last result is kept."""
        return self._kept("pooled", queries, None, lambda: self.pooled_at(queries.row))

    def pooled_at(self, rows: np.ndarray) -> np.ndarray:
        """float32 [rows, dim]: the vectors of the users' histories before log rows."""
        length, size = self.settings.neighbours.length, len(self._catalogue)
        return np.concatenate([
            pooled(history_matrix(self.histories(part, length), size, "all"), self.neighbours.past)
            for part in _blocks(rows, length)
        ])

    def histories(self, rows: np.ndarray, length: int) -> Ragged:
        """`Ragged`: for each log row, catalogue positions of the newest `length` items before it, oldest first.

        −1 stands for an item outside the catalogue.
        """
        items, lengths = [], []
        for part in _blocks(rows, length):
            past = self._history.before(part, length)[0]
            items.append(past[past >= 0])
            lengths.append((past >= 0).sum(axis=1))
        return Ragged.from_lengths(self.positions(np.concatenate(items)), np.concatenate(lengths))

    def newest(self, rows: np.ndarray, length: int) -> np.ndarray:
        """int32 [rows, any]: as `histories`, each item once; −1 also pads."""
        items, times = self._history.before(rows, length)
        positions = np.where(items >= 0, self.positions(items), -1).astype(np.int64)
        codes = repeated(positions, times, np.zeros_like(rows), None, length).codes.numpy()
        return np.where(codes == NONE, -1, codes).astype(np.int32)

    def repeated(self, queries: Queries, half_life: float | None = _SETTINGS) -> tuple[Ragged, np.ndarray]:
        """(`Ragged` of catalogue positions, float32 values): each query's earlier items; kept as in `pooled`.

        half_life: days or None; by default that of the settings.
        """
        half_life = self.settings.repeats.half_lives[0] if half_life is _SETTINGS else half_life
        return self._kept("repeated", queries, half_life, lambda: self._repeated_at(queries.row, half_life))

    def _repeated_at(self, rows: np.ndarray, half_life: float | None) -> tuple[Ragged, np.ndarray]:
        length, codes, values, lengths = self.settings.repeats.length, [], [], []
        for part in _blocks(rows, length):
            items, times = self._history.before(part, length)
            positions = np.where(items >= 0, self.positions(items), -1)
            now = self._log.timestamp[part] if self._request_time else np.zeros_like(part)
            found = repeated(positions.astype(np.int64), times, now, half_life, length)
            there = (found.codes != NONE).numpy()
            codes.append(found.codes.numpy()[there])
            values.append(found.values.numpy()[there])
            lengths.append(there.sum(axis=1))
        return Ragged.from_lengths(np.concatenate(codes), np.concatenate(lengths)), np.concatenate(values)

    @property
    def most_trials(self) -> float:
        """The largest number of steps that `choose` advances its bar by."""
        popularity, repeats, n = self.settings.popularity_half_lives, self.settings.repeats, self.settings.neighbours
        half_lives = [len(popularity) if self._log.timed else 1, len(repeats.half_lives) if repeats else 1]
        steps = float(sum(number for number in half_lives if number > 1))
        if n and n.has_choices:
            steps += len(n.penalties) + len(n.item_powers) - 1 + sum(n.dims[1:]) / n.dims[0]
        return steps

    def choose(self, queries: Queries, measure: Callable[[Scorer], np.ndarray], trials: Trials | None = None) -> None:
        """Keeps the half-lives, the penalty and the length that rank `queries` best without the towers.

        Popularity's half-life is chosen with popularity alone. Then the half-life of repeats, and the penalty and the
        length of neighbours are chosen, each together with popularity. Of equal half-lives the first is kept. Without
        time for any vectors of neighbours, the term is left out.

        Args:
          queries: `Queries`.
          measure: `Scorer` of these queries → float [queries], larger is better; NaN where a query says nothing.
          trials: `Trials` with the time for it; None: no limit.
        """
        nothing, settings, trials = np.zeros([len(queries), 1]), self.settings, trials or Trials()

        def mean(scorer: Scorer) -> float:
            return float(np.nanmean(measure(scorer)))

        if len(settings.popularity_half_lives) > 1:
            half_life = trials.best(
                "other half-lives of popularity", settings.popularity_half_lives,
                lambda half_life: mean(Popularity(self.popular(half_life), len(queries))),
            ) if self._log.timed else None
            self._keep(popularity_half_lives=(half_life,))
        if settings.repeats and len(settings.repeats.half_lives) > 1:
            weight, no_item = middle(settings.repeats.weights), np.zeros([len(self._catalogue), 1])

            def had(half_life: float | None) -> float:
                positions, values = self.repeated(queries, half_life)
                return mean(DotScorer(nothing, no_item, self.log_popularity, (positions, weight * values)))

            half_lives = (trials.best("other half-lives of repeats", settings.repeats.half_lives, had),)
            self._keep(repeats=dataclasses.replace(settings.repeats, half_lives=half_lives))
        if settings.neighbours and settings.neighbours.has_choices:
            self._choose_neighbours(settings.neighbours, queries, measure, trials)

    def _choose_neighbours(
        self, settings: Neighbours, queries: Queries, measure: Callable[[Scorer], np.ndarray], trials: Trials
    ) -> None:
        """The penalty by the shortest vectors. Then a larger power of the items, and longer vectors.

        The next larger power or length is kept if it is better by more than a standard error.
        """
        power, dim = min(settings.item_powers), settings.dims[0]

        def value(vectors: NeighbourVectors) -> np.ndarray:
            self._last.clear()
            self.neighbours = vectors
            pooled = max(settings.weights) * self.pooled(queries)  # little is left of popularity, as beside the towers
            values = [measure(DotScorer(pooled, vectors.items, bias)) for bias in (None, self.log_popularity)]
            return max(values, key=np.nanmean)

        tried = NeighbourTrials(self._fit(), dim, self._seed, value, trials)

        def mean(penalty: float) -> float:
            values = tried(penalty, power, dim, "other penalties of neighbours" if tried.made else "neighbours")
            return -np.inf if values is None else float(np.nanmean(values))

        penalty = climbed(sorted(settings.penalties), mean)
        if not tried.made:
            self._keep(neighbours=None)
            return
        larger, longer = "larger powers of neighbours' items", "longer vectors of neighbours"
        power = _while_better(sorted(settings.item_powers), lambda p: tried(penalty, p, dim, larger))
        dim = _while_better(settings.dims, lambda n: tried(penalty, power, n, longer))
        self._last.clear()
        self.neighbours = tried.made[penalty, power, dim][1]
        self._keep(neighbours=dataclasses.replace(settings, penalties=(penalty,), item_powers=(power,), dim=dim))

    def _keep(self, **settings: Any) -> None:
        self.settings = dataclasses.replace(self.settings, **settings)

    def _fit(self) -> NeighbourFit:
        users, items = self.events.users[-_EVENTS:], self.events.items[-_EVENTS:]
        newest = dataclasses.replace(self.events, users=users, items=items)
        settings = self.settings.neighbours
        return NeighbourFit(newest.visits(), settings.items, settings.user_power)

    def _kept(self, name: str, queries: Queries, setting: float | None, make: Callable[[], _Value]) -> _Value:
        last = self._last.get(name)
        if last is None or last[0] is not queries or last[1] != setting:
            last = self._last[name] = queries, setting, make()
        return last[2]

    @functools.cached_property
    def _item_keys(self) -> np.ndarray:
        """int64 [catalogue]: fingerprints of the items' ids, which name them in another run."""
        ids = self._log.items[c.ITEM_ID].take(self._catalogue)
        return fingerprints(key_tensor(ids, c.ITEM_ID)).numpy()


def _while_better(choices: Sequence[_Value], tried: Callable[[_Value], np.ndarray | None]) -> _Value:
    """The first choice, or a later one if each up to it is better than that before by more than a standard error.

    tried: None: there was no time for the choice.
    """
    kept, *others = choices
    for other in others:
        values = tried(other)
        if values is None or not clearly_better(values, tried(kept)):  # type: ignore[arg-type]  # `kept` was tried
            break
        kept = other
    return kept


def _blocks(rows: np.ndarray, length: int) -> list[np.ndarray]:
    """Log rows in parts, whose histories are read one after the other: at least one part, if it is empty."""
    step = max(_PAST // length, 1)
    return [rows[i: i + step] for i in range(0, max(len(rows), 1), step)]
