"""Compares the arms of an experiment by what their users did."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.experiments.reading import Participants

PLANNED = 10_000  # users of two arms


@dataclass(frozen=True)
class ArmComparison:
    """One arm, and its difference from the control. The control itself has no difference.

    Attributes:
      arm: its name.
      users, answers, events: counts.
      rate: events per user, or per answer.
      difference: of the rates.
      interval: a confidence sequence of the difference: it may be looked at as often as one likes.
      p: the p-value that goes with it: below alpha if and only if the interval leaves 0, with several arms too.
      fixed_interval, fixed_p: Welch's, for a single look at a moment that was chosen beforehand.
    """

    arm: str
    users: int
    answers: int
    events: int
    rate: float
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    fixed_interval: tuple[float, float] | None = None
    fixed_p: float | None = None


def compare_arms(
    found: Participants, control: str, per: str = "user", alpha: float = 0.05, cuped: bool = False,
    planned: int = PLANNED,
) -> list[ArmComparison]:
    """The control first, then each other arm, compared with it by users.

    With m other arms each interval has the level 1 − alpha / m, and each p-value is multiplied by m (Bonferroni), so
    that all hold together.

    Args:
      found: `Participants`.
      control: the name of the control.
      per: "user", or "answer": a ratio, whose variance over users is that of the delta method (Deng, Knoblich and Lu
        2018).
      alpha: 1 − the level.
      cuped: subtracts from each user what `found.before` tells of them (Deng, Xu, Kohavi and Walker 2013), with one
        slope for all arms.
      planned: the number of users of two arms at which the interval is narrowest.

    Raises:
      ConfigError: the control has no users, or an argument is out of range.
    """
    if per not in ("user", "answer"):
        raise ConfigError(invalid("per", "be user or answer", per, "The default is user."))
    if not 0 < alpha < 1:
        raise ConfigError(invalid("alpha", "be between 0 and 1", alpha, "The default is 0.05."))
    names = [control, *sorted(set(found.arm.tolist()) - {control})]
    if control not in found.arm:
        raise ConfigError(invalid("control", "have users with answers", control, f"Arms with users: {names[1:]}."))
    values = {name: _values(found, found.arm == name, per) for name in names}
    if cuped:
        values = _adjusted(values, {name: found.before[found.arm == name] for name in names})
    others = max(1, len(names) - 1)
    rows = []
    for name in names:
        chosen = found.arm == name
        rows.append(ArmComparison(name, int(chosen.sum()), int(found.answers[chosen].sum()),
                                  int(found.events[chosen].sum()), float(values[name].mean())))
    return [rows[0], *(_compared(row, values[row.arm], values[control], alpha, others, planned) for row in rows[1:])]


def imbalance(users: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """The p-value of the test for a mismatch of the arms' numbers of users with their shares (Pearson's chi-squared).

    Below 0.001 something assigns or loses users by arm, and no difference of the arms can be trusted.
    """
    names = [name for name in shares if shares[name]]
    observed = np.array([users.get(name, 0) for name in names], float)
    expected = np.array([shares[name] for name in names])
    return float(stats.chisquare(observed, expected / expected.sum() * observed.sum()).pvalue)


def _values(found: Participants, chosen: np.ndarray, per: str) -> np.ndarray:
    """A value for each user: their mean is the rate, and their variance over the users is its variance."""
    events = found.events[chosen].astype(float)
    units = np.ones(len(events)) if per == "user" else found.answers[chosen].astype(float)
    rate = events.sum() / units.sum()
    return rate + (events - rate * units) / units.mean()


def _adjusted(values: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """CUPED: value − θ (before − its mean over all users), θ = cov / var within the arms."""
    within = [(v - v.mean(), before[name] - before[name].mean()) for name, v in values.items()]
    variance = sum(float(b @ b) for _, b in within)
    slope = sum(float(v @ b) for v, b in within) / variance if variance else 0.0
    mean = np.concatenate(list(before.values())).mean()
    return {name: v - slope * (before[name] - mean) for name, v in values.items()}


def _compared(
    row: ArmComparison, arm: np.ndarray, control: np.ndarray, alpha: float, others: int, planned: int
) -> ArmComparison:
    difference = float(arm.mean() - control.mean())
    row = replace(row, difference=difference)
    if min(len(arm), len(control)) < 2:
        return row
    variance = arm.var(ddof=1) / len(arm) + control.var(ddof=1) / len(control)
    if not variance:
        return row
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of SciPy, if all users of one arm did the same
        welch = stats.ttest_ind(arm, control, equal_var=False)
    margin, p = _sequence(difference, float(variance), len(arm) + len(control), alpha / others, planned)
    fixed = welch.confidence_interval(1 - alpha / others)
    return replace(
        row, interval=(difference - margin, difference + margin), p=min(1.0, others * p),
        fixed_interval=(float(fixed.low), float(fixed.high)), fixed_p=min(1.0, others * float(welch.pvalue)),
    )


def _sequence(difference: float, variance: float, n: int, alpha: float, planned: int) -> tuple[float, float]:
    """(half width, p-value) of the asymptotic confidence sequence of a mean of n terms.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
    sequences", Annals of Statistics 52(6), 2024: mean ± σ √(2 (nρ² + 1) / (n²ρ²) · ln(√(nρ² + 1) / α)), with
    σ² / n the variance of the mean. ρ makes it narrowest at n = `planned` (the same, section 2: ρ² n is
    2 ln(1/α) + ln(1 + 2 ln(1/α)), to a close approximation).
    """
    wide = 2 * np.log(1 / alpha)
    x = n * (wide + np.log(1 + wide)) / planned  # nρ²
    margin = np.sqrt(variance * 2 * (x + 1) / x * (np.log(x + 1) / 2 - np.log(alpha)))
    log_p = np.log(x + 1) / 2 - x * difference**2 / (2 * (x + 1) * variance)
    return float(margin), float(np.exp(min(0.0, log_p)))


def winner(rows: Sequence[ArmComparison]) -> str:
    """The arm with the largest rate among those whose interval lies above 0; "" if there is none."""
    better = [row for row in rows if row.interval and row.interval[0] > 0]
    return max(better, key=lambda row: row.rate).arm if better else ""
