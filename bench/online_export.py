"""An export of many items without training: clustered vectors, and a query tower that reads the user and their past."""

import time

import numpy as np
import pyarrow as pa

from bench.bench_index import mixture
from tfrs_twotower import columns as c
from tfrs_twotower.configuration import to_dict
from tfrs_twotower.data.statistics import Happenings
from tfrs_twotower.exporting import Moving, Retriever, export
from tfrs_twotower.features import History, Id, ItemStatistic, Schema, build_fields
from tfrs_twotower.index import IndexConfig, build
from tfrs_twotower.towers import MLP, Tower

# This comes after tfrs_twotower, which sets up legacy Keras.
import tensorflow as tf  # isort: skip

NAME, DIM, K, EVENTS = "bench", 64, 100, 20
_NOTHING = Happenings(*(np.zeros(0, np.int64) for _ in range(5)), ("",))
_NEAR, _SOME = 200, 50_000  # a user's past is drawn from the 200 items nearest to one of 50,000
_STATISTIC = ItemStatistic(hours=(24, 0))


def write(root, rows, users, kind, target, statistic=False):
    """Writes version 1 under `root`: items 1 to `rows`, users 1 to `users`.

    An item's vector is its row of the table. A user's is the mean of their past's plus half their own row, scaled to
    norm 1, so that queries lie where items do. With a statistic, a count of events moves an item's vector: all counts
    are 0 at the end of the users' pasts, where a server counts on.

    Returns:
      (vectors float32 [rows, DIM], features {input name: [users, ...]} of each user's request, `IndexReport`).
    """
    vectors, _ = mixture(rows, DIM, 1)
    own = (_STATISTIC,) if statistic else ()
    schema = Schema(query=(Id(c.USER_ID, dim=DIM), History(length=EVENTS)), candidate=(Id(c.ITEM_ID, dim=DIM), *own))
    query, candidate = _towers(schema, vectors, users)
    features = _requests(vectors, users)
    embedded = query(query.encode({name: tf.constant(v[:1000]) for name, v in features.items()})).numpy()
    index, report = build(IndexConfig(kind=kind, k=K, target_recall=target), vectors, embedded)
    uniform = np.full(rows, -np.log(rows), np.float32)
    retriever = Retriever(query, candidate, vectors, np.arange(1, rows + 1), index, 1.0, uniform)
    fields = {"model": NAME, "schema": to_dict(schema), "embedding_space": "bench", "temperature": 1.0}
    samples = [{name: tf.constant(v[:8]) for name, v in features.items()}]
    until = int(features[c.HISTORY_TIMESTAMP].max())
    moving = Moving(own, pa.table({c.ITEM_ID: np.arange(1, rows + 1)}), _NOTHING, [""], until) if own else None
    export(retriever, root, fields, samples, report, model_name=NAME, force=True, statistics=moving)
    return vectors, features, report


def _towers(schema, vectors, users):
    query_fields, candidate_fields = build_fields(schema)
    for field, column, count in ((query_fields[0], c.USER_ID, users), (candidate_fields[0], c.ITEM_ID, len(vectors))):
        field.adapt({column: pa.array(np.arange(1, count + 1))}, np.ones(count, np.int64))
    for field in candidate_fields[1:]:
        nothing = pa.array([[0.0] * field.feature.spec.width], pa.list_(pa.float32()))
        field.adapt({field.feature.column: nothing}, np.ones(1, np.int64))
    candidate = Tower(candidate_fields, MLP(widths=()), DIM, normalise=True, name="candidate")
    query = Tower(query_fields, MLP(widths=()), DIM, normalise=True, name="query")
    zeros = {field.feature.column: tf.zeros([1, field.feature.spec.width]) for field in candidate_fields[1:]}
    candidate(candidate.encode({c.ITEM_ID: tf.constant([1], tf.int64), **zeros}))
    query(query.encode({name: tf.constant(value) for name, value in _request([1], [[1]]).items()}))
    candidate_fields[0].table.assign(np.concatenate([np.zeros((1, DIM), np.float32), vectors]))
    one = np.eye(DIM, dtype=np.float32)
    moved = np.random.default_rng(1).normal(0, 0.05, (sum(f.feature.dim for f in candidate_fields[1:]), DIM))
    for tower, kernel in ((candidate, np.concatenate([one, moved])), (query, np.concatenate([one / 2, one]))):
        next(v for v in tower.trainable_variables if "projection" in v.name).assign(kernel)
    return query, candidate


def _requests(vectors, users):
    generator = np.random.default_rng(1)
    some = vectors[:_SOME]
    pasts = []
    for anchors in np.array_split(generator.integers(0, len(some), users), max(1, users // 100)):
        near = np.argpartition(-(some[anchors] @ some.T), _NEAR, axis=1)[:, :_NEAR]
        pasts += [generator.choice(row, EVENTS, replace=False) + 1 for row in near]
    return _request(np.arange(1, users + 1), pasts)


def _request(users, pasts):
    """What a request of each user carries."""
    pasts, now = np.array(pasts, np.int64), int(time.time())
    times = now - 3600 + np.tile(np.arange(pasts.shape[1]), (len(pasts), 1))
    return {
        c.USER_ID: np.array(users, np.int64), c.HISTORY_ITEM_ID: pasts, c.HISTORY_TIMESTAMP: times.astype(np.int64),
        c.TIMESTAMP: np.full(len(pasts), now, np.int64),
    }
