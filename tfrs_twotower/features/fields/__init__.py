"""The fields of the features. Importing them connects each feature's class with its layer."""

from tfrs_twotower.features.fields import (  # noqa: F401
    category,
    cross,
    graph_vector,
    history,
    id,
    location,
    multi_value,
    number,
    preprocessed,
    sequence,
    statistic,
    text,
    time,
    vector,
)
