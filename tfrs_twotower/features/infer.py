"""A schema from nothing but the columns: the defaults that a recipe without a schema gets."""

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.features.schema import (
    Category,
    Feature,
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


def infer_schema(log, id_dim=32, outcomes=()):
    """A schema for an `InteractionLog`.

    Ids on both sides, the user's history, and every other column by its type: numbers normalised, lists of text as
    multi-valued, lists of floats as pre-trained vectors, truth values, text with few distinct values and whole numbers
    called *_id as a category, other text as words.

    Training leaves out a fifth of the users' ids and of the pasts: in a split by time many users are new, and someone
    of whom nothing is known is to be offered what is popular. Of the pasts it reads an older part alone: after a split
    in time a past has often ended long before what is asked for. The hour of the request is not read: where people act
    in sessions it tells the training rows of a person apart, and nothing that holds for others.

    Args:
      log: an `InteractionLog`.
      id_dim: size of the ids' embeddings.
      outcomes: context columns that are known only after the event: they are left out.
    """
    query: list[Feature] = [
        Id(c.USER_ID, dim=id_dim, dropout=_UNKNOWN), History(length=_HISTORY_LENGTH, dropout=_UNKNOWN, cut=1.0),
    ]
    candidate: list[Feature] = [Id(c.ITEM_ID, dim=id_dim)]
    for table, key, fields in ((log.users, c.USER_ID, query), (log.items, c.ITEM_ID, candidate)):
        fields += [f for name in table.column_names if name != key and (f := _feature(name, table[name]))]
    query += [
        f for name in log.context.column_names
        if name not in (c.EVENT, c.LABEL, c.SESSION, *outcomes) and (f := _feature(name, log.context[name]))
    ]
    return Schema(query=tuple(query), candidate=tuple(candidate))


def _feature(name, column):
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
        return Text(name, analyser="words")
    return Category(name)
