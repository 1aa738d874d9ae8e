"""Features that count what happened before a moment: with an item, and by a user."""

from typing import Annotated

from tfrs_twotower import columns as names
from tfrs_twotower.configuration import config
from tfrs_twotower.data.statistics import SHOWN, Measure, Spec
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features.kinds import Feature
from tfrs_twotower.features.past import PastFeature
from tfrs_twotower.ranges import Count, MinLength, Natural

_HOURS = (1, 24, 168, 0)
Windows = Annotated[tuple[Natural, ...], MinLength(1), "In hours; 0 means all time."]


@config
class ItemStatistic(Feature):
    """What happened with an item in some windows of time before the hour of a request. A feature of candidates.

    It is computed from the events of the log. In training a batch is a stretch of time, and its statistics are as of
    the stretch's first hour, so they never know an event of the batch or a later one. An export reads them as raw
    inputs, and a server updates them (`freshness.FreshItems`). Such batches can cost quality: compare with a model that
    has no statistics.

    Attributes:
      measure: `count` of events, as log(1 + n); distinct `users`, in the same way; `rate`: the logarithm of
        (n + a) / (N + a + b) for n events among N, where a and b fit the rates of the items in training; `recency`:
        log(1 + days since the last event), in steps of at most a half.
      event: the kind of events, a value of the log's `event` column. "" means all events.
      per: of a `rate`: the kind of the N events. "shown" means each time the item was shown: these events, and those
        where the user saw the item and did not choose it (`InteractionLog.shown`).
      hours: the windows, in hours before the hour of the request. 0 means all time. `recency` does not read it.
      dim: size of its embedding.
    """

    measure: Measure = "count"
    event: str = ""
    per: str = SHOWN
    hours: Windows = _HOURS
    dim: Count = 8

    def __post_init__(self) -> None:
        if self.measure == "rate" and self.per == self.event:
            rule = "be another kind than `event`"
            raise ConfigError(invalid("ItemStatistic.per", rule, self.per, "Leave it out for what was shown."))

    @property
    def spec(self) -> Spec:
        """What is computed."""
        return Spec(self.measure, self.event, self.per, self.hours)

    @property
    def column(self) -> str:
        """The name of the raw input."""
        per = f"_per_{names.safe(self.per)}" if self.measure == "rate" else ""
        return f"item_{self.measure}" + (f"_{names.safe(self.event)}" if self.event else "") + per

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def name(self) -> str:
        return f"statistic_{self.column}"


@config
class UserStatistic(PastFeature):
    """What a user did before the request: a count of events for each window, and the time since the last one.

    It is computed from the times of the newest `length` events of the history, which training and serving give alike.

    Attributes:
      length: the number of events that are read.
      hours: the windows, in hours before the request. 0 means all events that are read.
      kinds: the kinds of events that count; see `PastFeature`.
      dim: size of its embedding.
    """

    length: Count = 50
    hours: Windows = _HOURS
    kinds: tuple[str, ...] = ()
    dim: Count = 8

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.past_columns, names.TIMESTAMP)

    @property
    def name(self) -> str:
        return names.past(kinds=self.kinds).replace("history", "user_statistic", 1)
