"""The kinds of features, each a frozen dataclass. Features of the user's history are in `past.py`."""

import typing
from typing import Annotated, Literal

from tfrs_twotower import columns as names
from tfrs_twotower.configuration import Layered, config
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features.calendar import zone
from tfrs_twotower.ranges import AtMost, Count, DropoutRate, MinLength, Natural

_Part = Literal["hour", "weekday", "month", "season", "holiday", "recency"]


class Feature(Layered):
    """Base of the features' configurations.

    Its layer is a `Field`, made as `layer(configuration, seed)`.

    Attributes:
      columns: the names of the columns that it reads.
      name: of the feature and its field, distinct within its tower, in letters, digits and `_`.
      dim: size of its embedding.
    """

    dim: Count

    def __post_init__(self) -> None:
        """Does nothing; features of your own may call it."""

    if typing.TYPE_CHECKING:  # a subclass has them as fields or as properties

        @property
        def columns(self) -> tuple[str, ...]: ...

        @property
        def name(self) -> str: ...


class _OneColumn(Feature):
    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)


@config
class Id(_OneColumn):
    """An id, as one table row. String or int64, like the column.

    Attributes:
      column: name of the column.
      dim: size of the embedding.
      dropout: share of the ids that training replaces by row 0, so that row 0 means "someone unknown".
      min_count: ids with fewer training events are not learned.
      buckets: 0 for a vocabulary; else ids are hashed into this number of rows.
    """

    column: str
    dim: Count = 32
    dropout: DropoutRate = 0.05
    min_count: Count = 1
    buckets: Natural = 0

    def __post_init__(self) -> None:
        if self.buckets and self.min_count > 1:
            raise ConfigError("`Id.min_count` means nothing with `buckets`: a hash has no counts. Drop one.")

    @property
    def name(self) -> str:
        return f"id_{names.safe(self.column)}"


@config
class Augmented(Id):
    """A second vector of an id, which a `Mimic` loss pulls towards the vectors of its positives (DAT, Yu et al. 2021).

    So each tower reads a summary of the other tower's vectors for this id. See `Id` for the attributes.

    Attributes:
      dim: the length of the model's vectors.
    """

    dim: Count = 64

    @property
    def name(self) -> str:
        return f"augmented_{names.safe(self.column)}"


@config
class Category(_OneColumn):
    """One of a small set of values, text or int64, as one row of a table."""

    column: str
    dim: Count = 8
    min_count: Count = 1

    @property
    def name(self) -> str:
        return f"category_{names.safe(self.column)}"


@config
class Cross(Feature):
    """The combination of two or more categories, as one row of a table.

    Attributes:
      columns: their names, two or more.
      buckets: combinations are hashed into this number of rows.
      dim: size of the embedding.
    """

    columns: Annotated[tuple[str, ...], MinLength(2), "Use Category for one."]
    buckets: Count = 10_000
    dim: Count = 8

    @property
    def name(self) -> str:
        return "cross_" + "_x_".join(map(names.safe, self.columns))


@config
class Number(_OneColumn):
    """A number.

    Attributes:
      transform: `normalise` to mean 0 and deviation 1 over training events; `log1p`: the same after
        sign(x)·log(1 + |x|); `bucketise` into at most `bins` bins of equally many training events.
    """

    column: str
    transform: Literal["normalise", "log1p", "bucketise"] = "normalise"
    bins: Count = 10
    dim: Count = 8

    @property
    def name(self) -> str:
        return f"{self.transform}_{names.safe(self.column)}"


@config
class Time(_OneColumn):
    """A moment, in int64 seconds since 1970, UTC; the sum of one vector for each part.

    Attributes:
      parts: `hour` of the day, `weekday` (Monday first), `month`, `season` (December to February is the first),
        `holiday` (none, a public holiday, or the day before one), and `recency`: log(1 + days before the newest
        training value of this column, 0 after it). Of an item's release, recency is its age. Of the
        event's own time it is the example's age (Covington et al. 2016), and 0 when serving.
      zone: a time zone, such as Europe/Berlin, in whose local time the other parts are; "" is UTC.
      zone_column: in place of `zone`, a column with the time zone of each row. A missing or unknown one is UTC.
      holidays: a country or a part of one, such as DE or US-CA, whose public holidays `holiday` means. Training needs
        the package `holidays`, of the extra `calendar`.
    """

    column: str
    parts: Annotated[tuple[_Part, ...], MinLength(1)] = ("hour", "weekday")
    dim: Count = 8
    zone: str = ""
    zone_column: str = ""
    holidays: str = ""

    def __post_init__(self) -> None:
        if self.zone and self.zone_column:
            raise ConfigError(invalid("Time.zone", "be empty with a zone_column", self.zone, "Name one of them."))
        if self.zone:
            zone(self.zone, "Time.zone")
        if bool(self.holidays) != ("holiday" in self.parts):
            rule, way_out = "name a country if there is a part `holiday`, and no other time", "For example DE."
            raise ConfigError(invalid("Time.holidays", rule, self.holidays, way_out))

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, self.zone_column) if self.zone_column else (self.column,)

    @property
    def name(self) -> str:
        where = self.zone or self.zone_column
        return f"time_{names.safe(self.column)}" + (f"_in_{names.safe(where)}" if where else "")


@config
class MultiValue(_OneColumn):
    """Any number of values of one kind, text or int64, such as genres.

    Attributes:
      pooling: `mean`, `sum`, or `attention` (softmax of the product with one learned vector).
      min_count: values with fewer training events are not learned.
      length: values after the first `length` are left out.
    """

    column: str
    pooling: Literal["mean", "sum", "attention"] = "mean"
    dim: Count = 8
    min_count: Count = 1
    length: Count = 20

    @property
    def name(self) -> str:
        return f"values_{names.safe(self.column)}"


@config
class Text(_OneColumn):
    """A text, as the mean of its tokens' vectors.

    Attributes:
      analyser: `words` (lower case, split at all but letters, marks and digits); `trigrams` of a word's
        letters, cat → #ca cat at# (Huang et al. 2013); `characters`, for scripts without spaces.
      max_tokens: at most so many tokens are learned, the most frequent.
      length: tokens after the first `length` are left out.
    """

    column: str
    analyser: Literal["words", "trigrams", "characters"] = "words"
    max_tokens: Count = 20_000
    dim: Count = 32
    length: Count = 64

    @property
    def name(self) -> str:
        return f"{self.analyser}_{names.safe(self.column)}"


@config
class Vector(Feature):
    """A vector given with each entity (an Arrow column of lists of floats), projected to `dim`.

    Attributes:
      trainable: whether training tunes the vectors: an entity of the training data gets a correction,
        learned from 0, added to its vector. Other entities keep the vectors given.
      id_column: the ids that the corrections belong to, for `trainable`.
    """

    column: str
    trainable: bool = False
    dim: Count = 32
    id_column: str = names.ITEM_ID

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, self.id_column) if self.trainable else (self.column,)

    @property
    def name(self) -> str:
        return f"vector_{names.safe(self.column)}"


@config
class GraphVector(_OneColumn):
    """An item's vector from the graph of users and items, projected to `dim`: see `features/graph.py`.

    It is computed once, before training, from training events alone. It is not trained.

    Attributes:
      column: the item's id.
      factors: length of the vectors.
      layers: how often vectors are propagated along the graph's edges.
    """

    column: str = names.ITEM_ID
    factors: Count = 64
    layers: Count = 3
    dim: Count = 32

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, names.TAKEN_BY)

    @property
    def name(self) -> str:
        return f"graph_{names.safe(self.column)}"


@config
class Location(Feature):
    """A place on the earth: its geohash cells, as rows of tables, and its direction from the middle of the earth.

    The inner product of two directions falls with the distance of the places. So if both towers have a `Location`, the
    score can depend on how far the item is from the user.

    Attributes:
      latitude, longitude: the columns, in degrees, north and east above 0.
      cells: lengths of geohashes; 3 is about 156 km wide, 4 39 km, 5 5 km, 6 1.2 km.
      min_count: cells with fewer training events are not learned.
    """

    latitude: str = "latitude"
    longitude: str = "longitude"
    cells: Annotated[tuple[Annotated[Count, AtMost(8)], ...], "A geohash of 8 letters is 38 m wide."] = (3, 5)
    min_count: Count = 1
    dim: Count = 8

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.latitude, self.longitude)

    @property
    def name(self) -> str:
        return f"place_{names.safe(self.latitude)}_{names.safe(self.longitude)}"
