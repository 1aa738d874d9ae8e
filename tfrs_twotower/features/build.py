"""From declared features to fields."""

from typing import TYPE_CHECKING

from tfrs_twotower.features.fields.field import derive_seed
from tfrs_twotower.features.past import PastFeature

if TYPE_CHECKING:
    from tfrs_twotower.features.fields.field import Field
    from tfrs_twotower.features.schema import Schema


def build_fields(schema: "Schema", seed: int = 0) -> tuple[list["Field"], list["Field"]]:
    """The fields of a schema, not yet adapted.

    Args:
      schema: a `Schema`.
      seed: the model's seed, from which each field derives its own.

    Returns:
      (query fields, candidate fields), in the schema's order. Fields of the history hold the candidate's
      item field, so both towers train one table.
    """
    candidate = [f.build(derive_seed(seed, "candidate")) for f in schema.candidate]
    items = next((field for field in candidate if field.feature is schema.item_id), None)
    query_seed = derive_seed(seed, "query")
    query = [f.build(items, query_seed) if isinstance(f, PastFeature) else f.build(query_seed) for f in schema.query]
    return query, candidate
