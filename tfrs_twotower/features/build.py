"""From declared features to fields. To add a kind of feature: its declaration, its file, one line here."""

from tfrs_twotower.features import schema as declared
from tfrs_twotower.features.fields.category import CategoryField
from tfrs_twotower.features.fields.cross import CrossField
from tfrs_twotower.features.fields.graph_vector import GraphVectorField
from tfrs_twotower.features.fields.history import HistoryField
from tfrs_twotower.features.fields.id import IdField
from tfrs_twotower.features.fields.multi_value import MultiValueField
from tfrs_twotower.features.fields.number import number_field
from tfrs_twotower.features.fields.sequence import SequenceField
from tfrs_twotower.features.fields.text import TextField
from tfrs_twotower.features.fields.time import TimeField
from tfrs_twotower.features.fields.vector import VectorField
from tfrs_twotower.features.seeds import derive_seed

FIELDS = {
    declared.Id: IdField,
    declared.Augmented: IdField,
    declared.Category: CategoryField,
    declared.Cross: CrossField,
    declared.Number: number_field,
    declared.Time: TimeField,
    declared.MultiValue: MultiValueField,
    declared.Text: TextField,
    declared.Vector: VectorField,
    declared.GraphVector: GraphVectorField,
}
PAST_FIELDS = {declared.History: HistoryField, declared.Sequence: SequenceField}


def build_fields(schema, seed=0):
    """The fields of a schema, not yet adapted.

    Args:
      schema: a `Schema`.
      seed: the model's seed, from which each field derives its own.

    Returns:
      (query fields, candidate fields), in the schema's order. Fields of the past hold the candidate's
      item field, so both towers train one table.
    """
    candidate = [FIELDS[type(f)](f, derive_seed(seed, "candidate")) for f in schema.candidate]
    items = next((field for field in candidate if field.feature is schema.item_id), None)
    query_seed = derive_seed(seed, "query")
    query = []
    for f in schema.query:
        if type(f) in PAST_FIELDS:
            query.append(PAST_FIELDS[type(f)](f, items, query_seed))
        else:
            query.append(FIELDS[type(f)](f, query_seed))
    return query, candidate
