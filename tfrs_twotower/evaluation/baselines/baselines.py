"""All baselines, fitted on training events and tuned on validation."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence

from tfrs_twotower import progress
from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.evaluation.baselines import ease
from tfrs_twotower.evaluation.baselines.bought_before import BoughtBefore
from tfrs_twotower.evaluation.baselines.ease import EASE
from tfrs_twotower.evaluation.baselines.events import WEEK, TrainingEvents, history_matrix, recent_counts
from tfrs_twotower.evaluation.baselines.ials import FACTORS, IALS
from tfrs_twotower.evaluation.baselines.item_knn import ItemKNN
from tfrs_twotower.evaluation.baselines.popularity import Popularity
from tfrs_twotower.evaluation.baselines.tuning import OutOfTime, tune
from tfrs_twotower.evaluation.scorers import Scorer

_KNN = {"neighbours": (20, 100, 400)}
_EASE = {"penalty": (10, 50, 200, 1000, 3000)}
_IALS = {"alpha": (1, 4, 16, 64), "regularization": (0.1, 1, 10, 100), "iterations": (8, 16)}


class Baselines:
    """Popularity, last week's popularity, the user's own earlier items, item-kNN, EASE and iALS.

    Last week's popularity is a baseline if the training events span more than a week.

    Args:
      events: `TrainingEvents`.
      seconds: how long fitting and tuning may take. Popularity and one item-kNN are always fitted; other baselines are
        left out if they do not fit into this time.
      repeats: whether the user's own earlier items are a baseline.
      histories: `Ragged` of the validation queries that choose the settings; None: no choice, the defaults are used.
      measure: `Scorer` of these queries → the metric on validation, larger is better.
      seed: of iALS.

    Attributes:
      settings: {name: {setting: value, "history", "validation", "fits", "seconds"}} of item-kNN, EASE and iALS.
      skipped: {name: reason}.
    """

    def __init__(
        self, events: TrainingEvents, seconds: float, repeats: bool = False, histories: Ragged | None = None,
        measure: Callable[[Scorer], float] | None = None, seed: int = 0,
    ) -> None:
        self._events, self._repeats, self._seed = events, repeats, seed
        self._counts, self._visits = events.counts(), events.visits()
        self._tuned, self.settings, self.skipped = {}, {}, {}
        self._measure = None if histories is None else _Measure(
            histories, events.catalogue, measure  # type: ignore[arg-type]  # whoever gives histories gives it
        )
        deadline = time.monotonic() + seconds
        knn = functools.partial(ItemKNN, self._visits)
        with progress.bar("Fitting baselines", 3) as advance:
            self._fit("item_knn", knn, _KNN, {"neighbours": 100}, deadline, share=1 / 4)
            advance()
            self._fit("ease", self._ease, _EASE, {"penalty": 200}, deadline, share=1 / 2)
            advance()
            start = {"alpha": 4, "regularization": 10, "iterations": 16}
            self._fit("ials", self._ials, _IALS, start, deadline, share=1)

    def scorers(self, histories: Ragged) -> dict[str, Scorer]:
        """{name: `Scorer`} for queries of these histories: `Ragged` of candidate positions, oldest first."""
        size, events = len(histories), self._events
        found: dict[str, Scorer] = {"popularity": Popularity(self._counts, size)}
        if len(events.timestamps) and events.timestamps.max() - events.timestamps.min() > WEEK:
            week = recent_counts(events.items, events.timestamps, events.catalogue)
            found["popularity_last_week"] = Popularity(week, size)
        if self._repeats:
            found["bought_before"] = BoughtBefore(histories, self._counts)
        for name, tuned in self._tuned.items():
            found[name] = tuned.fit.scorer(history_matrix(histories, events.catalogue, tuned.history))
        return found

    def _fit(
        self, name: str, fit: Callable[..., EASE | IALS | ItemKNN], grid: Mapping[str, Sequence[float]],
        start: Mapping[str, float], deadline: float, share: float,
    ) -> None:
        """Tunes one baseline in its share of the remaining time."""
        begun = time.monotonic()
        self._until = begun + share * (deadline - begun)
        try:
            tuned = tune(fit, grid, start, "last_10", self._measure, self._until)
        except OutOfTime as reason:
            self.skipped[name] = str(reason)
            return
        self._tuned[name] = tuned
        self.settings[name] = {
            **tuned.settings, "history": tuned.history, "validation": tuned.validation, "fits": tuned.fits,
            "seconds": round(time.monotonic() - begun, 1),
        }

    def _ease(self, penalty: float) -> EASE:
        items, left = self._events.catalogue, max(self._until - time.monotonic(), 0.0)
        if items > ease.LIMIT:
            raise OutOfTime(f"{items:,} items are more than the {ease.LIMIT:,} that it is exact for")
        if (needed := ease.expected_seconds(items)) > left:
            raise OutOfTime(f"one fit of {items:,} items takes about {needed:.0f} s, of {left:.0f} s left for it")
        return EASE(self._visits, penalty)

    def _ials(self, alpha: float, regularization: float, iterations: int) -> IALS:
        def watch() -> None:
            if time.monotonic() > self._until:
                raise OutOfTime(f"{FACTORS} factors were not fitted in the time left for it")

        watch()
        return IALS(self._visits, alpha, regularization, iterations, self._seed, watch)


class _Measure:
    """The metric on validation of a fit and a kind of history."""

    def __init__(self, histories: Ragged, catalogue: int, measure: Callable[[Scorer], float]) -> None:
        self._matrix = functools.cache(lambda kind: history_matrix(histories, catalogue, kind))
        self._measure = measure

    def __call__(self, fit: EASE | IALS | ItemKNN, kind: str) -> float:
        return self._measure(fit.scorer(self._matrix(kind)))
