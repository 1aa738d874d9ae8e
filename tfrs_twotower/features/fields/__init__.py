"""The fields of the features. Importing them tells each feature's class its layer."""

from tfrs_twotower.features.fields import (  # noqa: F401
    category,
    cross,
    graph_vector,
    history,
    id,
    multi_value,
    number,
    preprocessed,
    sequence,
    text,
    time,
    vector,
)
