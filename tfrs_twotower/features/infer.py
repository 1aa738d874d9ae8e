"""A schema from nothing but the columns: what a recipe without a schema gets."""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.config import config
from tfrs_twotower.features.past import PAST
from tfrs_twotower.features.schema import (
    Augmented,
    Category,
    Feature,
    GraphVector,
    History,
    Id,
    MultiValue,
    Number,
    Schema,
    Text,
    Vector,
)

_CATEGORY_ROWS = 100_000  # rows looked at to tell a category from text
_CATEGORY_LIMIT = 1_000  # more distinct values than this, and half the rows, is text
_HISTORY_LENGTH = 50
_UNKNOWN = 0.2


@config
class Derived:
    """What a system needs of a schema that is derived from the columns of a log.

    Attributes:
      query, candidate: features that are given. Each takes the place of the derived one of its column; a `History` or a
        `Sequence` that of the derived past. `Augmented` and `GraphVector` stand beside the id.
      user_id: whether the query has the user's `Id`.
      text: the `Text.analyser` of derived texts.
    """

    query: tuple[Feature, ...] = ()
    candidate: tuple[Feature, ...] = ()
    user_id: bool = True
    text: Literal["words", "trigrams", "characters"] = "words"


def infer_schema(log, derived=Derived(), outcomes=()):
    """A schema for an `InteractionLog`.

    Ids on both sides, the user's history, and every other column by its type: numbers normalised, lists of text as
    multi-valued, lists of floats as pre-trained vectors, truth values, text with few distinct values and whole numbers
    called *_id as a category, other text as words.

    Training leaves out a fifth of the users' ids and of the pasts: in a split by time many users are new, and someone
    of whom nothing is known is to be offered what is popular. Of the pasts it reads an older part alone: after a split
    in time a past has often ended long before what is asked for. Without times there is no older part. The hour of the
    request is not read: where people act in sessions it tells the training rows of a person apart, and nothing that
    holds for others.

    Args:
      log: an `InteractionLog`.
      derived: a `Derived`: what is given, and what is left out.
      outcomes: context columns that are known only after the event: they are left out.
    """
    query: list[Feature] = [Id(c.USER_ID, dropout=_UNKNOWN)] if derived.user_id else []
    query.append(History(length=_HISTORY_LENGTH, dropout=_UNKNOWN, cut=1.0 if log.timed else 0.0))
    candidate: list[Feature] = [Id(c.ITEM_ID)]
    of_events = (c.EVENT, c.LABEL, c.SESSION, *outcomes)
    tables = ((log.users, (c.USER_ID,), query), (log.items, (c.ITEM_ID,), candidate), (log.context, of_events, query))
    for table, without, fields in tables:
        names = [name for name in table.column_names if name not in without]
        fields += [f for name in names if (f := _feature(name, table[name], derived.text))]
    return Schema(query=_beside(derived.query, query), candidate=_beside(derived.candidate, candidate))


def _beside(given, found):
    """The given features, and those of the found ones whose places they do not take."""
    taken = {_place(feature) for feature in given}
    return (*given, *(feature for feature in found if _place(feature) not in taken))


def _place(feature):
    if isinstance(feature, PAST):
        return PAST
    beside = isinstance(feature, (Augmented, GraphVector)) or not hasattr(feature, "column")
    return feature.name if beside else (feature.column,)


def _feature(name, column, analyser):
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
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
