"""Features: declared by frozen dataclasses, computed by Keras layers inside the model."""

from tfrs_twotower.features.build import build_fields
from tfrs_twotower.features.fields.field import Field, derive_seed, weights_loaded_next
from tfrs_twotower.features.fields.history import HistoryField
from tfrs_twotower.features.fields.id import IdField, is_table, is_user_table
from tfrs_twotower.features.fields.past import PastField
from tfrs_twotower.features.fields.searches import SearchesField
from tfrs_twotower.features.fields.sequence import SequenceEmbedding, SequenceField
from tfrs_twotower.features.fields.statistic import StatisticField
from tfrs_twotower.features.infer import Derived, infer_schema
from tfrs_twotower.features.keras_files import with_layers_in
from tfrs_twotower.features.kinds import (
    Augmented,
    Category,
    Cross,
    Feature,
    GraphVector,
    Id,
    Location,
    MultiValue,
    Number,
    Text,
    Time,
    Vector,
)
from tfrs_twotower.features.lookup import FingerprintLookup, fingerprints, is_missing
from tfrs_twotower.features.past import PARTS, History, PastFeature, Searches, Sequence, Window
from tfrs_twotower.features.preprocessed import Preprocessed
from tfrs_twotower.features.schema import Schema
from tfrs_twotower.features.statistics import ItemStatistic, UserStatistic
from tfrs_twotower.features.tensors import key_dtype, key_tensor, to_tensor

__all__ = [
    "PARTS",
    "Augmented",
    "Category",
    "Cross",
    "Derived",
    "Feature",
    "Field",
    "FingerprintLookup",
    "GraphVector",
    "History",
    "HistoryField",
    "Id",
    "IdField",
    "ItemStatistic",
    "MultiValue",
    "Number",
    "PastFeature",
    "PastField",
    "Location",
    "Preprocessed",
    "Schema",
    "Searches",
    "SearchesField",
    "Sequence",
    "SequenceEmbedding",
    "SequenceField",
    "StatisticField",
    "Text",
    "Time",
    "UserStatistic",
    "Vector",
    "Window",
    "build_fields",
    "derive_seed",
    "fingerprints",
    "infer_schema",
    "is_missing",
    "is_table",
    "is_user_table",
    "key_dtype",
    "key_tensor",
    "to_tensor",
    "weights_loaded_next",
    "with_layers_in",
]
