"""The features of queries and candidates.

| feature | a missing value is | and means |
| --- | --- | --- |
| `Id`, `Augmented` | "" or −1, or an id not learned | row 0; training replaces a share of the ids by it |
| `Category` | "" or −1, or a value not learned | row 0, which missing and rare training values train |
| `Cross` | any of its columns "" or −1 | row 0 |
| `Number` | NaN (or infinite) | the mean, and an indicator that says so; `bucketise`: a bin of its own |
| `Time` | 0 or less (so is a time before 1970) | the zero vector |
| `Location` | a coordinate NaN or out of range | the zero vector; a cell not learned is row 0 |
| `MultiValue` | an empty list, or no value that was learned | the zero vector |
| `History` | no event | the zero vector; an item not learned is row 0 of the item's `Id` |
| `Sequence` | no event | an empty sequence: encoders have a learned start state; an item not learned as in `History` |
| `Searches` | no search, or no token that was learned | the zero vector |
| `Text` | "", or no token that was learned | the zero vector |
| `Vector` | zeros, or no vector | the zero vector |
| `ItemStatistic` | no list of numbers | nothing happened with the item |
| `UserStatistic` | no event | the user did nothing yet |
| `GraphVector` | "" or −1, or an id not learned | the zero vector |
"""

from collections.abc import Iterable

from tfrs_twotower import columns as names
from tfrs_twotower.configuration import config
from tfrs_twotower.errors import ConfigError, invalid, nearest
from tfrs_twotower.features.kinds import Feature, Id
from tfrs_twotower.features.past import PastFeature, Searches
from tfrs_twotower.features.statistics import ItemStatistic


@config
class Schema:
    """The features of the two towers.

    A query reads the user table, context columns, the event's time and the user's history. A candidate reads the item
    table.

    Raises:
      ConfigError: a side has no feature, two features of one side have one name, or a history without
        the candidate's `Id` of `item_id`.
    """

    query: tuple[Feature, ...]
    candidate: tuple[Feature, ...]

    def __post_init__(self) -> None:
        for side in ("query", "candidate"):
            found = [feature.name for feature in getattr(self, side)]
            if not found:
                raise ConfigError(invalid(f"Schema.{side}", "hold one feature or more", (), "Add an Id."))
            if twice := [name for name in found if found.count(name) > 1]:
                raise ConfigError(f"`Schema.{side}` has two features called `{twice[0]}`. Leave one out.")
            columns: dict = {}
            for column in (column for feature in getattr(self, side) for column in feature.columns):
                if (other := columns.setdefault(names.safe(column), column)) != column:
                    raise ConfigError(f"`Schema.{side}` reads `{other}` and `{column}`, both of which TensorFlow would "
                                      f"know as `{names.safe(column)}`. Give one another name, or leave it out.")
        if any(isinstance(f, PastFeature) for f in self.candidate):
            raise ConfigError("`Schema.candidate` cannot hold a History or Sequence: items have no history.")
        self._check_pasts()
        if any(isinstance(f, PastFeature) for f in self.query) and self.item_id is None:
            way_out = f"Add Id(column={names.ITEM_ID!r}) to `Schema.candidate`."
            raise ConfigError(f"A History or Sequence shares the candidate's table. {way_out}")

    def _check_pasts(self) -> None:
        kinds: dict[str, tuple[str, ...]] = {}
        for feature in (f for f in self.query if isinstance(f, PastFeature)):
            if (other := kinds.setdefault(feature.input(""), feature.kinds)) != feature.kinds:
                raise ConfigError(f"`Schema.query` has histories of the kinds {other} and {feature.kinds}, whose "
                                  f"inputs would both be called `{feature.input('')}…`. Rename a kind in the log.")
            if feature.categories and self.item_id is not None and self.item_id.buckets:
                rule, way_out = "be () where `Id.buckets` hashes the items", "Use Id(\"item_id\") without buckets."
                raise ConfigError(invalid(f"{type(feature).__name__}.categories", rule, feature.categories, way_out))

    @property
    def item_id(self) -> Id | None:
        """The candidate's `Id` of `item_id`, or None."""
        return next((f for f in self.candidate if type(f) is Id and f.column == names.ITEM_ID), None)

    def validate(self, query_columns: Iterable[str], candidate_columns: Iterable[str]) -> None:
        """Checks that every column exists. A query may always read the time and the user's history, and a candidate
        its users in training.

        Raises:
          ConfigError: names the feature, the column, and the nearest column that exists.
        """
        always = [names.TIMESTAMP, names.HISTORY_ITEM_ID, names.HISTORY_TIMESTAMP]
        for feature in (f for f in self.query if isinstance(f, PastFeature)):
            always += feature.past_columns
            _check_past(feature, query_columns, candidate_columns)
        if any(isinstance(f, Searches) for f in self.query) and names.QUERY in query_columns:
            always.append(names.SEARCHES)
        for side, known in (("query", (*query_columns, *always)), ("candidate", (*candidate_columns, names.TAKEN_BY))):
            for feature in getattr(self, side):
                moving = isinstance(feature, ItemStatistic)
                if moving and side == "query":
                    raise ConfigError(f"`{feature.name}` counts what happened with an item, so it is no feature of a "
                                      "query. Move it to `schema.candidate`, or use UserStatistic().")
                if moving and feature.column in candidate_columns:
                    raise ConfigError(f"The items have a column `{feature.column}`, which is also the name of the "
                                      "input of an ItemStatistic. Give the column another name.")
                for column in feature.columns if not moving else ():
                    if column not in known:
                        raise ConfigError(
                            f"`{feature.name}` of the {side} reads the column `{column}`, which does not exist."
                            + nearest(column, [name for name in known if name != names.TAKEN_BY])
                            + f" Give `schema.{side}` features of your columns, or leave the schema out."
                        )


def _check_past(feature: PastFeature, query_columns: Iterable[str], candidate_columns: Iterable[str]) -> None:
    """Raises `ConfigError` if the log or the item table lacks what a history reads of its events."""
    for what, wanted, known in (("log", feature.reads, query_columns), ("item table", feature.categories,
                                                                        candidate_columns)):
        for name in wanted:
            if name not in known:
                raise ConfigError(f"`{feature.name}` of the query reads `{name}`, and the {what} has no such column."
                                  + nearest(name, list(known)) + " Name it for the source, or leave it out.")
