"""The gate: whether an update is good enough to be published."""

import dataclasses
from typing import Any

from tfrs_twotower.data import Ragged
from tfrs_twotower.evaluation import ALL, Evaluation, compare, compare_lists, kept
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.updates.choices import Choices, read_choices

TOLERANCE = 0.01  # an update may be worse by this share of the serving version's value
ENOUGH = 30  # answers: fewer say too little about lists
CHOICE_RATE = "choice_rate"  # of `compare_lists`
_FAVOURS = (
    "If people chose these events among what the serving version showed, the comparison favours that version. Serve "
    "with --log-requests, name the answer in each event, say what was seen (POST /v1/impressions), and update from the "
    "store. Or let an experiment decide (serve --arms)."
)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the gate found.

    Attributes:
      metric: `CHOICE_RATE`, or the monitored metric.
      serving, updated: its values; larger is better.
      interval: 95% interval of updated − serving.
      queries: the number of answers, or of queries.
      reason: why the update is refused, in a few sentences; None if it may be published.
    """

    metric: str
    serving: float
    updated: float
    interval: tuple[float, float]
    queries: int
    reason: str | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the reason."""
        values = dataclasses.asdict(self) | {"interval": list(self.interval), "tolerance": TOLERANCE}
        return {name: value for name, value in values.items() if name != "reason"}


def judge(new: Assembly, old: Assembly, updated: Evaluation) -> Verdict:
    """Compares an update with the serving version, on the events that the update held out.

    Events with at least `ENOUGH` answers of which it is known what was seen are compared by `compare_lists`. All others
    are compared as `updated` was made: which model finds the newest events in the whole catalogue.

    Args:
      new, old: the `Assembly` of the update, and that of the serving version on the same log and split.
      updated: the update's evaluation.
    """
    found = read_choices(new)
    if found is not None and len(found) >= ENOUGH:
        return _by_lists(new, old, found)
    metric, queries = new.recipe.training.monitor, old.asked()  # the sample of the update's own evaluation
    serving = old.evaluate(queries, old.model_scorer(queries))
    values = serving.metrics[metric], updated.metrics[metric]
    moved = values[1] - values[0]  # all that there is of a metric that is no mean
    low, high = compare(updated, serving).get(metric, {"interval": (moved, moved)})["interval"]
    reason = refusal(metric, *values, (low, high), f"{updated.queries:,} queries")
    if reason is not None:
        known = "" if found is None else (
            f" Only {len(found)} answers of that time, each without the last item that was seen, have one that was "
            f"chosen and one that was not. {ENOUGH} are needed to compare lists. A larger --held-out has more."
        )
        reason += f"{known} {_FAVOURS}"
    return Verdict(metric, *values, (low, high), updated.queries, reason)


def _by_lists(new: Assembly, old: Assembly, found: Choices) -> Verdict:
    seen = found.queries.seen
    exclude = None
    if new.view != ALL:
        seen = Ragged(new.positions(seen.values), seen.offsets)
        exclude = kept(seen, seen.values >= 0)
    serving, updated = (a.model_scorer(found.queries) for a in (old, new))
    lists = compare_lists(serving, updated, found.items, found.chosen, exclude)
    reason = refusal(CHOICE_RATE, lists.first, lists.second, lists.interval, f"{lists.answers:,} answers")
    return Verdict(CHOICE_RATE, lists.first, lists.second, lists.interval, lists.answers, reason)


def refusal(metric: str, serving: float, updated: float, interval: tuple[float, float], of: str) -> str | None:
    """Why an update is refused, in one sentence; None if it may be published.

    An update is refused if it is more than 1% below the serving version, whatever the interval: with few queries the
    interval contains zero for almost any loss. It is also refused if the whole interval lies below zero, even at less
    than 1%. With few queries some good updates are refused too. That is accepted: a day without an update costs less
    than a worse version.

    Args:
      metric: its name.
      serving, updated: its values on the same queries; larger is better.
      interval: 95% paired bootstrap interval of updated − serving.
      of: what they were asked, as "1,234 queries".
    """
    low, high = interval
    fell = f"{metric} of the newest {of} fell from {serving:.4f} to {updated:.4f}"
    if updated - serving < -TOLERANCE * max(serving, 0.0):
        by = "" if serving <= 0 else f", by {(serving - updated) / serving:.1%} where {TOLERANCE:.0%} is allowed"
        return f"{fell}{by} (difference within [{low:+.4f}, {high:+.4f}])."
    if high < 0:
        return f"{fell}: less than {TOLERANCE:.0%}, but surely (difference within [{low:+.4f}, {high:+.4f}])."
    return None
