"""Tuning of a baseline's settings on validation, within a time limit."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfrs_twotower.errors import EvaluationError
from tfrs_twotower.evaluation.baselines.events import HISTORIES


class OutOfTime(Exception):
    """A fit would take longer than its time limit."""


@dataclasses.dataclass
class TunedBaseline:
    """A fitted baseline, and the weighting of its queries' histories.

    Attributes:
      fit: an object with `scorer(history matrix)`.
      history: one of `HISTORIES`.
      settings: {name: value} of the fit.
      validation: the metric of the choice, or None without a choice.
      fits: the number of fits that were tried.
    """

    fit: Any
    history: str
    settings: dict
    validation: float | None = None
    fits: int = 1


def tune(
    fit: Callable[..., Any], grid: Mapping[str, Sequence[float]], start: Mapping[str, float], history: str,
    measure: Callable[[Any, str], float] | None, deadline: float,
) -> TunedBaseline:
    """Starts at `start` and moves along one setting of the grid after another while `measure` rises.

    Args:
      fit: called with the settings by name; returns an object with `scorer`. It may raise `OutOfTime`.
      grid: {setting: values, ascending}.
      start: {setting: one of its values}.
      history: the first of `HISTORIES` to use.
      measure: (fit, history) → the metric on validation, larger is better; None: `start` is used.
      deadline: a time of `time.monotonic`. A fit begins only if it would end before, at the speed of the slowest one.

    Returns:
      The best `TunedBaseline`.

    Raises:
      OutOfTime: there was no time for the first fit.
    """
    begun = time.monotonic()
    best = TunedBaseline(fit(**start), history, dict(start))
    if measure is None:
        return best
    slowest = time.monotonic() - begun
    best.validation = measure(best.fit, history)
    _choose_history(best, measure)
    tried = {tuple(start.values())}
    for name, values in grid.items():
        for step in (1, -1):
            while 0 <= (place := values.index(best.settings[name]) + step) < len(values):
                settings = {**best.settings, name: values[place]}
                if tuple(settings.values()) in tried or time.monotonic() + slowest > deadline:
                    break
                tried.add(tuple(settings.values()))
                begun = time.monotonic()
                try:
                    found = fit(**settings)
                except (OutOfTime, EvaluationError):
                    break
                slowest, value = max(slowest, time.monotonic() - begun), measure(found, best.history)
                if value <= best.validation:
                    break
                best.fit, best.settings, best.validation = found, settings, value
    if len(tried) > 1:
        _choose_history(best, measure)
    best.fits = len(tried)
    return best


def _choose_history(best: TunedBaseline, measure: Callable[[Any, str], float]) -> None:
    values = {kind: measure(best.fit, kind) for kind in HISTORIES if kind != best.history}
    kind = max(values, key=lambda k: values[k])
    if values[kind] > best.validation:  # type: ignore[operator]  # `tune` has measured it
        best.history, best.validation = kind, values[kind]
