"""Features of the user's history, which share the table of the candidate's `Id` of `item_id`."""

from typing import Annotated, Literal, NamedTuple, get_args

from tfrs_twotower import columns as names
from tfrs_twotower.configuration import config
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features.kinds import Feature
from tfrs_twotower.ranges import Count, DropoutRate, Positive, Share

Part = Literal["event", "dwell"]
_REACH = 4
PARTS = (names.ITEM_ID, names.TIMESTAMP, *get_args(Part))  # of the events of a history


class Window(NamedTuple):
    """The newest `length` events of some kinds, () for all: what a history reads at most."""

    kinds: tuple[str, ...]
    length: int


class PastFeature(Feature):
    """Base of the features that read the user's history.

    Its layer, a `PastField`, is made as `layer(configuration, items, seed)`, with the candidate's field of `item_id`.

    Attributes:
      length: the newest events that are read.
      kinds: the kinds of events that are read; (): those of `Recipe.history_kinds`. Features of the same kinds read the
        same inputs.
      reads: what is read of an event besides its item and time: `event`, its kind; `dwell`, the seconds spent. Each
        adds a vector to the item's.
      categories: columns of the item table, such as `movie_genres`, of which each item of the history also adds the
        mean of its values' vectors.
      merge: a run is what happened one after another with one item (`item_id`), or also with items of the same values
        of a column, which is one of `categories`. Of a run only the newest event is read, so that `length` events reach
        further back: they are found among the newest 4 · `length`. None: no events are merged.
    """

    length: Count
    kinds: tuple[str, ...] = ()
    reads: tuple[Part, ...] = ()
    categories: tuple[str, ...] = ()
    merge: str | None = None

    def __post_init__(self) -> None:
        if self.merge not in (None, names.ITEM_ID, *self.categories):
            rule, way_out = f"be `{names.ITEM_ID}` or one of `categories`", f"Add `{self.merge}` to `categories`."
            raise ConfigError(invalid(f"{type(self).__name__}.merge", rule, self.merge, way_out))

    @property
    def reach(self) -> int:
        """The newest events that a request has to bring."""
        return _REACH * self.length if self.merge else self.length

    def input(self, part: str) -> str:
        """The name of the input with a part of its events."""
        return names.past(part, self.kinds)

    @property
    def past_columns(self) -> tuple[str, ...]:
        """The names of the inputs with its events."""
        return tuple(self.input(part) for part in (names.ITEM_ID, names.TIMESTAMP, *self.reads))


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
      merge, kinds, reads, categories: see `PastFeature`.
    """

    length: Count = 50
    pooling: Literal["mean", "decay"] = "mean"
    half_life_days: Annotated[Positive, "For no decay use pooling='mean'."] = 30.0
    learned: bool = False
    dropout: DropoutRate = 0.0
    cut: Annotated[Share, "0 turns it off."] = 0.0
    merge: str | None = None
    kinds: tuple[str, ...] = ()
    reads: tuple[Part, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.past_columns, names.TIMESTAMP)

    @property
    def name(self) -> str:
        return f"{names.past(kinds=self.kinds)}_{self.pooling}"


@config
class Sequence(PastFeature):
    """The items of the user's history one by one, for a sequence encoder (`GRU4Rec`, `SASRec`, `HSTU`).

    A model with kinds learns to predict the next event of these kinds.

    Attributes:
      length: the newest events that are read.
      request_time: whether the query has the moment of the request. If not, the newest event's time replaces it.
        Papers differ in this, and it matters a lot if people act in sessions: report the two separately.
      merge: see `PastFeature`. Training at every event reads one event of each run, drawn anew in each epoch, and its
        target is the next event, in the run or after it. So a model learns that a run goes on, and a long run counts
        no more than a short one.
      kinds, reads, categories: see `PastFeature`.
    """

    length: int = 200
    request_time: bool = True
    merge: str | None = None
    kinds: tuple[str, ...] = ()
    reads: tuple[Part, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.past_columns, names.TIMESTAMP) if self.request_time else self.past_columns

    @property
    def name(self) -> str:
        return "sequence"


@config
class Searches(Feature):
    """The words of the user's last searches, as the mean of their tokens' vectors (Covington et al. 2016).

    A search is an event with words, in the log's column `query`, of any kind.

    Attributes:
      length: the newest searches that are read.
      analyser, max_tokens: see `Text`.
      dim: size of a token's vector.
      tokens: the tokens of a search after so many are left out.
    """

    length: Count = 20
    analyser: Literal["words", "trigrams", "characters"] = "words"
    max_tokens: Count = 20_000
    dim: Count = 32
    tokens: Count = 16

    @property
    def column(self) -> str:
        return names.SEARCHES

    @property
    def columns(self) -> tuple[str, ...]:
        return (names.SEARCHES,)

    @property
    def name(self) -> str:
        return "searches"
