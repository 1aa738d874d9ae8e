"""A schema derived from the columns, for recipes without a schema."""

from collections.abc import Hashable, Iterable
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.configuration import config
from tfrs_twotower.data.log import InteractionLog
from tfrs_twotower.data.values import is_list
from tfrs_twotower.features.kinds import (
    Augmented,
    Category,
    Feature,
    GraphVector,
    Id,
    MultiValue,
    Number,
    Text,
    Vector,
)
from tfrs_twotower.features.past import History, PastFeature, Searches
from tfrs_twotower.features.schema import Schema
from tfrs_twotower.features.statistics import UserStatistic

_CATEGORY_ROWS = 100_000  # rows read to tell a category from text
_CATEGORY_LIMIT = 1_000  # more distinct values than this, and half the rows, is text
_HISTORY_LENGTH = 50
_UNKNOWN = 0.2


@config
class Derived:
    """A recipe's further features of a schema that is derived from the columns of a log.

    Attributes:
      query, candidate: given features. Each replaces the derived feature of its column. A `History` or a `Sequence`
        replaces the derived history. `Augmented` and `GraphVector` are added to the id,
        a `UserStatistic` to the history.
      user_id: whether the query has the user's `Id`.
      text: the `Text.analyser` of derived texts.
      searches: whether the query has `Searches`, if the log has search words.
    """

    query: tuple[Feature, ...] = ()
    candidate: tuple[Feature, ...] = ()
    user_id: bool = True
    text: Literal["words", "trigrams", "characters"] = "words"
    searches: bool = False


def infer_schema(log: InteractionLog, derived: Derived = Derived(), outcomes: Iterable[str | None] = ()) -> Schema:
    """A schema for an `InteractionLog`.

    It has ids on both sides, the user's history, and every other column by its type. Numbers are normalised. Lists of
    text are multi-valued features, and lists of floats are pre-trained vectors. Booleans, text with few distinct values
    and whole numbers called *_id are categories. Other text is split into words.

    Training drops a fifth of the user ids and of the histories. In a split by time many users are new, and an unknown
    user should get popular items. Training also cuts the newest events off histories, because in a split by time a
    history often ends long before the targets. Without times nothing is cut. The hour of the request is no feature: if
    people act in sessions, a model learns from it to tell one user's training rows apart, which does not generalise.
    What an event says of itself (kind, answer, place, dwell, value, search words) is no feature of its own query.

    Args:
      log: an `InteractionLog`.
      derived: a `Derived`.
      outcomes: context columns that are known only after the event; they are left out.
    """
    query: list[Feature] = [Id(c.USER_ID, dropout=_UNKNOWN)] if derived.user_id else []
    query.append(History(length=_HISTORY_LENGTH, dropout=_UNKNOWN, cut=1.0 if log.timed else 0.0))
    if derived.searches and c.QUERY in log.context.column_names:
        query.append(Searches(analyser=derived.text))
    candidate: list[Feature] = [Id(c.ITEM_ID)]
    of_events = (*c.OF_EVENTS, *outcomes)
    tables = ((log.users, (c.USER_ID,), query), (log.items, (c.ITEM_ID,), candidate), (log.context, of_events, query))
    for table, without, fields in tables:
        names = [name for name in table.column_names if name not in without]
        fields += [f for name in names if (f := _feature(name, table[name], derived.text))]
    return Schema(query=_beside(derived.query, query), candidate=_beside(derived.candidate, candidate))


def _beside(given: Iterable[Feature], found: Iterable[Feature]) -> tuple[Feature, ...]:
    """The given features, and the found features that they do not replace."""
    taken = {_place(feature) for feature in given}
    return (*given, *(feature for feature in found if _place(feature) not in taken))


def _place(feature: Feature) -> Hashable:
    if isinstance(feature, PastFeature) and not isinstance(feature, UserStatistic):
        return PastFeature
    beside = isinstance(feature, (Augmented, GraphVector)) or not hasattr(feature, "column")
    return feature.name if beside else (feature.column,)  # type: ignore[attr-defined]  # it has one, if not `beside`


def _feature(
    name: str, column: pa.ChunkedArray, analyser: Literal["words", "trigrams", "characters"]
) -> Feature | None:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if is_list(kind):
        if pa.types.is_floating(kind.value_type):
            return Vector(name)
        return MultiValue(name, pooling="mean")
    if pa.types.is_null(kind) or pa.types.is_temporal(kind):
        return None
    if pa.types.is_boolean(kind):
        return Category(name)
    if pa.types.is_integer(kind) and name.endswith("_id"):
        return Category(name)
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return Number(name, transform="normalise")
    values = column.slice(0, _CATEGORY_ROWS)
    distinct = pc.count_distinct(values).as_py()
    if distinct > _CATEGORY_LIMIT or distinct > 0.5 * len(values):
        return Text(name, analyser=analyser)
    return Category(name)
