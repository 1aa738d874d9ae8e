"""What a model knows of a query and of a candidate, said by frozen dataclasses.

| feature | a missing value is | and means |
| --- | --- | --- |
| `Id`, `Augmented` | "" or −1, or an id not learned | row 0, which training shows in place of a share of the ids |
| `Category` | "" or −1, or a value not learned | row 0, which missing and rare training values train |
| `Cross` | any of its columns "" or −1 | row 0 |
| `Number` | NaN (or infinite) | the mean, and an indicator that says so; `bucketise`: a bin of its own |
| `Time` | 0 or less (so is a time before 1970) | the zero vector |
| `MultiValue` | an empty list, or no value that was learned | the zero vector |
| `History` | no event | the zero vector; an item not learned is row 0 of the item's `Id` |
| `Sequence` | no event | a sequence without places; an item not learned as in `History` |
| `Text` | "", or no token that was learned | the zero vector |
| `Vector` | zeros, or no vector | the zero vector |
| `GraphVector` | "" or −1, or an id not learned | the zero vector |
"""

import dataclasses
import typing
from typing import Literal

from tfrs_twotower import columns as names
from tfrs_twotower.config import config
from tfrs_twotower.errors import ConfigError, invalid, nearest


class _Feature:
    """What all features have: a check of choices and sizes on creation."""

    def __post_init__(self):
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            where, value = f"{type(self).__name__}.{field.name}", getattr(self, field.name)
            choices = typing.get_args(field.type)
            if typing.get_origin(field.type) is Literal and value not in choices:
                raise ConfigError(f"`{where}` cannot be {value!r}." + nearest(value, choices))
            vocabulary = isinstance(self, Id) and (field.name, value) == ("buckets", 0)
            if field.type is int and value < 1 and not vocabulary:
                raise ConfigError(invalid(where, "be at least 1", value, "Use a larger number."))


class _OneColumn(_Feature):
    column: str

    @property
    def columns(self):
        return (self.column,)


@config
class Id(_OneColumn):
    """An id, as one row of a table. String or int64, as the column is.

    Attributes:
      column: name of the column.
      dim: size of the embedding.
      dropout: share of the ids that training replaces by row 0, so that row 0 means "someone unknown".
      min_count: ids with fewer training events are not learned.
      buckets: 0 for a vocabulary; else ids are hashed into so many rows.
    """

    column: str
    dim: int = 32
    dropout: float = 0.05
    min_count: int = 1
    buckets: int = 0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise ConfigError(invalid("Id.dropout", "be in [0, 1)", self.dropout, "0 turns it off."))
        if self.buckets and self.min_count > 1:
            raise ConfigError("`Id.min_count` means nothing with `buckets`: a hash has no counts. Drop one.")

    @property
    def name(self):
        return f"id_{self.column}"


@config
class Augmented(Id):
    """A second vector of an id, which a `Mimic` loss pulls towards what the id is paired with (DAT, Yu et al. 2021).

    On either side a tower gets by it what the other tower made of the id's positives. See `Id` for the attributes.

    Attributes:
      dim: the length of the model's vectors.
    """

    dim: int = 64

    @property
    def name(self):
        return f"augmented_{self.column}"


@config
class Category(_OneColumn):
    """One of a small set of values, text or int64, as one row of a table."""

    column: str
    dim: int = 8
    min_count: int = 1

    @property
    def name(self):
        return f"category_{self.column}"


@config
class Cross(_Feature):
    """The combination of two or more categories, hashed into `buckets` rows."""

    columns: tuple[str, ...]
    buckets: int = 10_000
    dim: int = 8

    def __post_init__(self):
        super().__post_init__()
        if len(self.columns) < 2:
            way_out = "Use Category for one."
            raise ConfigError(invalid("Cross.columns", "name two columns or more", self.columns, way_out))

    @property
    def name(self):
        return "cross_" + "_x_".join(self.columns)


@config
class Number(_OneColumn):
    """A number.

    Attributes:
      transform: `normalise` to mean 0 and deviation 1 over training events; `log1p`: the same after
        sign(x)·log(1 + |x|); `bucketise` into at most `bins` bins of equally many training events.
    """

    column: str
    transform: Literal["normalise", "log1p", "bucketise"] = "normalise"
    bins: int = 10
    dim: int = 8

    @property
    def name(self):
        return f"{self.transform}_{self.column}"


@config
class Time(_OneColumn):
    """A moment, in int64 seconds since 1970, UTC; the sum of one vector for each part.

    Attributes:
      parts: `hour` of the day, `weekday` (Monday first), and `recency`: log(1 + days before the newest
        training value of this column, 0 after it). Of an item's release, recency is its age. Of the
        event's own time it is the example's age (Covington et al. 2016), and 0 when serving.
    """

    column: str
    parts: tuple[Literal["hour", "weekday", "recency"], ...] = ("hour", "weekday")
    dim: int = 8

    def __post_init__(self):
        super().__post_init__()
        known = ("hour", "weekday", "recency")
        for part in self.parts:
            if part not in known:
                raise ConfigError(f"`Time.parts` cannot hold {part!r}." + nearest(part, known))
        if not self.parts:
            raise ConfigError(invalid("Time.parts", "name a part", self.parts, "Name hour, for example."))

    @property
    def name(self):
        return f"time_{self.column}"


@config
class MultiValue(_OneColumn):
    """Any number of values of one kind, text or int64, such as genres.

    Attributes:
      pooling: `mean`, `sum`, or `attention` (softmax of the product with one learned vector).
      min_count: values with fewer training events are not learned.
      length: values past the first `length` are left out.
    """

    column: str
    pooling: Literal["mean", "sum", "attention"] = "mean"
    dim: int = 8
    min_count: int = 1
    length: int = 20

    @property
    def name(self):
        return f"values_{self.column}"


@config
class History(_Feature):
    """The items of the user's past, from the same table as the candidate's `Id` of `item_id`.

    Attributes:
      length: the newest events that are read.
      pooling: `mean`, or `decay`: the mean weighted by e^{−λΔt}, Δt the event's age in days when the
        request is made. A missing time counts as age 0.
      half_life_days: ln 2 / λ, for `decay`.
      learned: whether training moves λ from there.
      dropout: share of the pasts that training empties, so that a person without one is no rare case: with
        `Id.dropout`, it trains the vector of someone of whom nothing is known.
    """

    length: int = 50
    pooling: Literal["mean", "decay"] = "mean"
    half_life_days: float = 30.0
    learned: bool = False
    dropout: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise ConfigError(invalid("History.dropout", "be in [0, 1)", self.dropout, "0 turns it off."))
        if not self.half_life_days > 0:
            way_out = "For no decay use pooling='mean'."
            raise ConfigError(invalid("History.half_life_days", "be above 0", self.half_life_days, way_out))

    @property
    def columns(self):
        return (names.HISTORY_ITEM_ID, names.HISTORY_TIMESTAMP, names.TIMESTAMP)

    @property
    def name(self):
        return f"history_{self.pooling}"


@config
class Sequence(_Feature):
    """The items of the user's past one by one, for a sequence encoder (`GRU4Rec`, `SASRec`, `HSTU`).

    Attributes:
      length: the newest events that are read.
      request_time: whether the query knows the moment of the request. Without it, the newest event's time
        stands for it. Papers differ in this, and it is worth a lot where people act in sessions: report the two apart.
    """

    length: int = 200
    request_time: bool = True

    @property
    def columns(self):
        past = (names.HISTORY_ITEM_ID, names.HISTORY_TIMESTAMP)
        return (*past, names.TIMESTAMP) if self.request_time else past

    @property
    def name(self):
        return "sequence"


@config
class Text(_OneColumn):
    """A text, as the mean of its tokens' vectors.

    Attributes:
      analyser: `words` (lower case, split at all but letters, marks and digits); `trigrams` of a word's
        letters, cat → #ca cat at# (Huang et al. 2013); `characters`, for scripts without spaces.
      max_tokens: at most so many tokens are learned, the most frequent.
      length: tokens past the first `length` are left out.
    """

    column: str
    analyser: Literal["words", "trigrams", "characters"] = "words"
    max_tokens: int = 20_000
    dim: int = 32
    length: int = 64

    @property
    def name(self):
        return f"{self.analyser}_{self.column}"


@config
class Vector(_Feature):
    """A vector given with each entity (an Arrow column of lists of floats), projected to `dim`.

    Attributes:
      trainable: whether training tunes the vectors: an entity of the training data gets a correction,
        learned from 0, added to its vector. Other entities keep the vectors given.
      id_column: the ids that the corrections belong to, for `trainable`.
    """

    column: str
    trainable: bool = False
    dim: int = 32
    id_column: str = names.ITEM_ID

    @property
    def columns(self):
        return (self.column, self.id_column) if self.trainable else (self.column,)

    @property
    def name(self):
        return f"vector_{self.column}"


@config
class GraphVector(_OneColumn):
    """An item's place in the graph of who took what, projected to `dim`: see `features/graph.py`.

    Computed once, before training, from training events alone, and not trained.

    Attributes:
      column: the item's id.
      factors: length of the vectors.
      layers: how often vectors are passed on along the graph's edges.
    """

    column: str = names.ITEM_ID
    factors: int = 64
    layers: int = 3
    dim: int = 32

    @property
    def columns(self):
        return (self.column, names.TAKEN_BY)

    @property
    def name(self):
        return f"graph_{self.column}"


Feature = (
    Id | Augmented | Category | Cross | Number | Time | MultiValue | History | Sequence | Text | Vector | GraphVector
)

PAST = (History, Sequence)  # features of the user's past, which share the candidate's table


@config
class Schema:
    """The features of the two towers.

    A query reads user table, context columns, event time and the user's past; a candidate the item table.

    Raises:
      ConfigError: a side has no feature, two features of one side have one name, or a history without
        the candidate's `Id` of `item_id`.
    """

    query: tuple[Feature, ...]
    candidate: tuple[Feature, ...]

    def __post_init__(self):
        for side in ("query", "candidate"):
            found = [feature.name for feature in getattr(self, side)]
            if not found:
                raise ConfigError(invalid(f"Schema.{side}", "hold one feature or more", (), "Add an Id."))
            if twice := [name for name in found if found.count(name) > 1]:
                raise ConfigError(f"`Schema.{side}` has two features called `{twice[0]}`. Leave one out.")
        if any(isinstance(f, PAST) for f in self.candidate):
            raise ConfigError("`Schema.candidate` cannot hold a History or Sequence: items have no past.")
        if any(isinstance(f, PAST) for f in self.query) and self.item_id is None:
            way_out = f"Add Id(column={names.ITEM_ID!r}) to `Schema.candidate`."
            raise ConfigError(f"A History or Sequence shares the candidate's table. {way_out}")

    @property
    def item_id(self):
        """The candidate's `Id` of `item_id`, or None."""
        return next((f for f in self.candidate if type(f) is Id and f.column == names.ITEM_ID), None)

    def validate(self, query_columns, candidate_columns):
        """Checks that every column exists. A query may always read the time and the user's past, and a candidate who
        took it in training.

        Raises:
          ConfigError: names the feature, the column, and the nearest column that exists.
        """
        always = (names.TIMESTAMP, names.HISTORY_ITEM_ID, names.HISTORY_TIMESTAMP)
        for side, known in (("query", (*query_columns, *always)), ("candidate", (*candidate_columns, names.TAKEN_BY))):
            for feature in getattr(self, side):
                for column in feature.columns:
                    if column not in known:
                        raise ConfigError(
                            f"`{feature.name}` of the {side} reads column `{column}`, which is not there."
                            + nearest(column, [name for name in known if name != names.TAKEN_BY])
                            + f" Give `schema.{side}` features of your columns, or train `plain`, which derives them."
                        )
