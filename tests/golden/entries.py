"""What has a golden: every kind of field and every encoder, on one small table.

`python -m tests.golden.entries` prints the goldens of the code as it is, for goldens.json.
"""

import functools
import json

import numpy as np
import pyarrow as pa

from tfrs_twotower import columns
from tfrs_twotower.features import (
    Augmented,
    Category,
    Cross,
    GraphVector,
    History,
    Id,
    ItemStatistic,
    Location,
    MultiValue,
    Number,
    Schema,
    Searches,
    Sequence,
    Text,
    Time,
    UserStatistic,
    Vector,
    build_fields,
)
from tfrs_twotower.towers import (
    CIN,
    DCN,
    HSTU,
    MIND,
    MLP,
    ComiRec,
    FMCandidate,
    FMQuery,
    GRU4Rec,
    ParallelCandidate,
    ParallelQuery,
    SASRec,
    SearchThenAttend,
    SENet,
    Tower,
)

import tensorflow as tf  # isort: skip

FIELDS = {
    "id": Id("user_id", dim=4),
    "id_hashed": Id("user_id", dim=4, buckets=16),
    "augmented": Augmented("user_id", dim=4),
    "category": Category("brand", dim=3),
    "cross": Cross(("brand", "size"), buckets=32, dim=3),
    "number_normalise": Number("price", "normalise", dim=3),
    "number_log1p": Number("price", "log1p", dim=3),
    "number_bucketise": Number("price", "bucketise", bins=3, dim=3),
    "time": Time("timestamp", ("hour", "weekday", "recency"), dim=3),
    "time_local": Time("timestamp", ("hour", "month", "season"), dim=3, zone_column="zone"),
    "place": Location(dim=3),
    "multi_value_mean": MultiValue("genres", "mean", dim=3, length=4),
    "multi_value_sum": MultiValue("genres", "sum", dim=3, length=4),
    "multi_value_attention": MultiValue("genres", "attention", dim=3, length=4),
    "history_mean": History(length=3, pooling="mean"),
    "history_decay": History(length=3, pooling="decay", half_life_days=2.0),
    "history_decay_learned": History(length=3, pooling="decay", half_life_days=2.0, learned=True),
    "history_parts": History(length=3, kinds=("buy",), reads=("event", "dwell"), categories=("genres", "brand")),
    "searches": Searches(length=2, dim=3, tokens=4),
    "text_words": Text("title", "words", dim=3, length=6),
    "text_trigrams": Text("title", "trigrams", dim=3, length=6),
    "text_characters": Text("title", "characters", dim=3, length=6),
    "graph_vector": GraphVector("item_id", factors=3, layers=2, dim=3),
    "vector_frozen": Vector("image", dim=3),
    "item_statistic_count": ItemStatistic(hours=(1, 0), dim=3),
    "item_statistic_rate": ItemStatistic("rate", "buy", hours=(24,), dim=3),
    "item_statistic_recency": ItemStatistic("recency", dim=3),
    "user_statistic": UserStatistic(length=4, hours=(1, 96, 0), dim=3),
    "vector_trainable": Vector("image", trainable=True, dim=3, id_column="user_id"),
}

ENCODERS = {
    "mlp": MLP(widths=(6, 5)),
    "dcn": DCN(layers=2),
    "dcn_low_rank": DCN(layers=1, rank=2),
    "cin": CIN(maps=(4, 3), dim=3),
    "fm_query": FMQuery(),
    "fm_candidate": FMCandidate(),
    "senet": SENet(encoder=MLP(widths=(5,))),
    "parallel_query": ParallelQuery(branches=(MLP(widths=(6,)), DCN())),
    "parallel_candidate": ParallelCandidate(branches=(MLP(widths=(6,)), DCN())),
    "mlp_none": MLP(widths=()),
    "mlp_layer_norm": MLP(widths=(6,), activation="tanh", normalisation="layer", dropout=0.5),
    "mlp_batch_norm": MLP(widths=(6,), activation="gelu", normalisation="batch"),
    "gru4rec": GRU4Rec(units=(5, 3)),
    "sasrec": SASRec(blocks=2, heads=2, length=3),
    "sasrec_without_time": SASRec(blocks=1, heads=1, time_bias=False, length=3),
    "hstu": HSTU(blocks=2, heads=2, width=3, length=3),
    "search_then_attend": SearchThenAttend(GRU4Rec(units=(3,)), recent=2, found=1),
    "mind": MIND(interests=2, hidden=MLP(widths=(5,))),
    "comirec": ComiRec(interests=2, attention=6, hidden=MLP(widths=(5,))),
}

_PLAIN = ("id", "number_log1p", "multi_value_mean", "history_decay_learned")
SEQUENCE_ENCODERS = (GRU4Rec, SASRec, HSTU, SearchThenAttend, MIND, ComiRec)
VECTOR_ENCODERS = (FMQuery, FMCandidate, ParallelQuery, ParallelCandidate)  # not projected, so not of length 1

# One column of each kind, each with a missing value; `counts` are the training events of the rows.
TABLE = {
    "user_id": pa.array(["anna", "ben", "cleo", "dora", None]),
    "item_id": pa.array([11, 12, 13, 14, 15]),
    "brand": pa.array(["x", "y", "x", None, "z"]),
    "size": pa.array([1, 2, None, 1, 2]),
    "price": pa.array([1.0, 2.0, 4.0, None, 8.0]),
    "timestamp": pa.array([1_700_000_000, 1_700_100_000, 0, 1_650_000_000, 1_500_000_000]),
    "zone": pa.array(["Europe/Berlin", "Asia/Kolkata", "UTC", None, "America/New_York"]),
    "latitude": pa.array([52.5, 48.9, 0.0, None, -33.9]),
    "longitude": pa.array([13.4, 2.35, 0.0, 7.0, 151.2]),
    "genres": pa.array([["a", "b"], ["b"], [], None, ["c", "a", "b"]]),
    "title": pa.array(["The cat sat", "A cat!", "", None, "Über dogs"]),
    "taken_by": pa.array([[0, 1], [1], [2, 0], [0, 1, 2], [2]], pa.list_(pa.int32())),
    "searches": pa.array(["red shoes", "Blue shoes", "", None, "a b"]),
    "history_buy_event": pa.array(["buy", "view", "buy", None, "buy"]),
    "history_buy_dwell": pa.array([1.0, None, 3.0, 4.0, 5.0]),
    "item_count": pa.array([[0.0, 9.0], [3.0, 5.0], [0.0, 0.0], [1.0, 1.0], [0.0, 2.0]]),
    "item_rate_buy_per_shown": pa.array([[0.0, 9.0], [3.0, 5.0], [0.0, 0.0], [1.0, 1.0], [1.0, 12.0]]),
    "item_recency": pa.array([[1.0], [24.0], [0.0], [3.0], [192.0]]),
    "image": pa.array([[1.0, 2.0], [0.5, -1.0], None, [3.0, 0.0], [1.0, 1.0]]),
}
COUNTS = np.array([5, 4, 3, 2, 1])

# What a server may get: known, unknown and missing values.
RAW = {
    "user_id": ["ben", "nobody", "", "anna"],
    "item_id": [13, 99, -1, 11],
    "brand": ["x", "?", "", "y"],
    "size": [2, 77, -1, 1],
    "price": [3.0, -5.0, float("nan"), float("inf")],
    "timestamp": [1_700_000_000, 1_900_000_000, 0, -1],
    "zone": ["Asia/Kolkata", "Europe/Berlin", "", "Nowhere/Land"],
    "latitude": [52.6, 10.0, float("nan"), 91.0],
    "longitude": [13.5, -10.0, 1.0, 0.0],
    "genres": [["a", "zzz", "b"], ["", "", ""], ["zzz", "", ""], ["c", "c", ""]],
    "title": ["the CAT", "?", "", "dögs über 猫"],
    "item_count": [[2.0, 4.0], [0.0, 0.0], [0.0, 7.0], [9.0, 99.0]],
    "item_rate_buy_per_shown": [[2.0, 4.0], [0.0, 0.0], [0.0, 7.0], [9.0, 3.0]],
    "item_recency": [[2.0], [0.0], [48.0], [float("nan")]],
    "image": [[1.0, 2.0], [0.0, 0.0], [9.0, -9.0], [0.5, 0.5]],
    "searches": [["old", "red SHOES", "a blue"], ["", "", ""], ["?", "", ""], ["shoes", "", ""]],
    "history_buy_item_id": [[11, 12, 13, 14], [-1] * 4, [99, 11, -1, -1], [-1, 15, -1, -1]],
    "history_buy_timestamp": [[1_699_000_000] * 4, [0] * 4, [1_699_000_000, 0, 0, 0], [0] * 4],
    "history_buy_event": [["buy", "?", "", "view"], [""] * 4, ["buy", "buy", "", ""], [""] * 4],
    "history_buy_dwell": [[0.0, 1.0, float("nan"), 1e9], [float("nan")] * 4, [-1.0, 5.0, 0.0, 0.0], [60.0] * 4],
    columns.HISTORY_ITEM_ID: [[11, 12, 13, 14, 15], [-1] * 5, [99, 11, -1, -1, -1], [12, -1, -1, -1, -1]],
    columns.HISTORY_TIMESTAMP: [
        [1_699_000_000, 1_699_500_000, 1_699_600_000, 1_699_700_000, 1_699_900_000],
        [0] * 5,
        [1_699_000_000, 1_699_500_000, 0, 0, 0],
        [0] * 5,
    ],
}


def names():
    return [*FIELDS, *ENCODERS]


def features(name):
    if name in FIELDS:
        return (FIELDS[name],)
    if isinstance(ENCODERS[name], SEQUENCE_ENCODERS):
        return FIELDS["id"], FIELDS["number_log1p"], Sequence(length=3)
    return tuple(FIELDS[f] for f in _PLAIN)


def build(name, adapts=1):
    """(the field or tower called `name`, the item field that a history shares)."""
    schema = Schema(query=features(name), candidate=(Id(columns.ITEM_ID, dim=4),))
    query, (items,) = build_fields(schema, seed=3)
    for field in (items, *query) * adapts:
        field.adapt(TABLE, COUNTS)
    if name in FIELDS:
        return query[0], items
    normalise = not isinstance(ENCODERS[name], VECTOR_ENCODERS)
    return Tower(query, ENCODERS[name], dim=4, normalise=normalise, seed=3), items


def raw(layer):
    return {column: tf.constant(RAW[column], spec.dtype) for column, spec in layer.inputs().items()}


@functools.cache
def made(name):
    """(the field or tower, its raw input, its output), for who changes nothing."""
    layer, _ = build(name)
    given = raw(layer)
    return layer, given, layer(layer.encode(given)).numpy()


def golden(name):
    layer, _, values = made(name)
    weights = np.cos(np.arange(values.size)).reshape(values.shape)
    return {
        "shape": list(values.shape),
        "parameters": int(layer.count_params()),
        "checksum": round(float((values * weights).sum()), 6),
    }


if __name__ == "__main__":
    lines = [f"  {json.dumps(name)}: {json.dumps(golden(name))}" for name in names()]
    print("{\n" + ",\n".join(lines) + "\n}")
