"""Features of the user's history, which share the table of the candidate's `Id` of `item_id`."""

from typing import Annotated, Literal

from tfrs_twotower import columns as names
from tfrs_twotower.configuration import config
from tfrs_twotower.features.kinds import Feature
from tfrs_twotower.ranges import Count, DropoutRate, Positive, Share


class PastFeature(Feature):
    """Base of the features that read the user's history.

    Its layer, a `PastField`, is made as `layer(configuration, items, seed)`, with the candidate's field of `item_id`.

    Attributes:
      length: the newest events that are read.
    """

    length: Count


@config
class History(PastFeature):
    """The items of the user's history, pooled, from the same table as the candidate's `Id` of `item_id`.

    Attributes:
      length: the newest events that are read.
      pooling: `mean`, or `decay`: the mean weighted by e^{−λΔt}. Δt is the event's age in days at the
        request. A missing time counts as age 0.
      half_life_days: ln 2 / λ, for `decay`.
      learned: whether training changes λ.
      dropout: share of the histories that training empties, so that a user without a history is no rare case.
        Together with `Id.dropout` it trains the vector of an unknown user.
      cut: share of the histories off which training cuts the newest events, any number of them equally likely. So the
        model also learns to predict later items, not only the next one: at a request, the history may have ended long
        ago.
    """

    length: Count = 50
    pooling: Literal["mean", "decay"] = "mean"
    half_life_days: Annotated[Positive, "For no decay use pooling='mean'."] = 30.0
    learned: bool = False
    dropout: DropoutRate = 0.0
    cut: Annotated[Share, "0 turns it off."] = 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        return (names.HISTORY_ITEM_ID, names.HISTORY_TIMESTAMP, names.TIMESTAMP)

    @property
    def name(self) -> str:
        return f"history_{self.pooling}"


@config
class Sequence(PastFeature):
    """The items of the user's history one by one, for a sequence encoder (`GRU4Rec`, `SASRec`, `HSTU`).

    Attributes:
      length: the newest events that are read.
      request_time: whether the query has the moment of the request. If not, the newest event's time replaces it.
        Papers differ in this, and it matters a lot if people act in sessions: report the two separately.
    """

    length: int = 200
    request_time: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        past = (names.HISTORY_ITEM_ID, names.HISTORY_TIMESTAMP)
        return (*past, names.TIMESTAMP) if self.request_time else past

    @property
    def name(self) -> str:
        return "sequence"
