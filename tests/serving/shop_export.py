"""A small real export: six items with attributes, users u1 and u2, and vectors that are known by hand.

    item  vector  category  tags  popularity      The vector of an item is (price, how many tags it has).
    a     1 0     fruit           .30             That of u1 is (1, 0), of u2 (0, 1), of others (0, 0), each plus
    b     2 0     fruit           .25             the request's `mood`. τ = ½: scores are twice ⟨u, v⟩.
    c     3 0     bread           .20
    d     0 2     bread     x y   .15
    e     0 1     milk      x     .06
    f     1 1     –         x     .04
"""

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.exporting import Retriever, items, manifest, people, signatures

TABLE = pa.table({
    "item_id": ["a", "b", "c", "d", "e", "f"],
    "price": [1.0, 2, 3, 0, 0, 1],
    "tags": [[], [], [], ["x", "y"], ["x"], ["x"]],
    "category": ["fruit", "fruit", "bread", "bread", "milk", None],
    "image": pa.array([[0.5, 0.5]] * 6, pa.list_(pa.float32())),
})
VECTORS = np.array([[1, 0], [2, 0], [3, 0], [0, 2], [0, 1], [1, 1]], np.float32)
POPULARITY = np.log(np.array([0.3, 0.25, 0.2, 0.15, 0.06, 0.04], np.float32))
SCHEMA = {
    "type": "Schema", "query": [{"type": "History", "length": 1}], "candidate": [{"type": "Id", "column": "item_id"}],
}


class Query(tf.Module):
    """See the module. It reads one event of a history, which changes nothing."""

    user_table = None

    def inputs(self):
        """Raw features."""
        return {
            c.USER_ID: tf.TensorSpec([None], tf.string), c.HISTORY_ITEM_ID: tf.TensorSpec([None, None], tf.string),
            "mood": tf.TensorSpec([None, 2], tf.float32),
        }

    def encode(self, raw):
        """Raw features; what is not finite is 0, as in a `Vector`."""
        return {name: tf.where(tf.math.is_finite(v), v, 0.0) if v.dtype.is_floating else v for name, v in raw.items()}

    def __call__(self, encoded, training=False):
        users = tf.cast(encoded[c.USER_ID][:, tf.newaxis] == ["u1", "u2"], tf.float32)
        return users + encoded["mood"] + 0 * tf.reduce_sum(tf.cast(encoded[c.HISTORY_ITEM_ID] == "", tf.float32))


class TimedQuery(Query):
    """It reads the moment too, which changes nothing."""

    def inputs(self):
        """Raw features."""
        return {**super().inputs(), c.TIMESTAMP: tf.TensorSpec([None], tf.int64)}

    def __call__(self, encoded, training=False):
        return super().__call__(encoded) + 0 * tf.cast(encoded[c.TIMESTAMP][:, tf.newaxis], tf.float32)


class NumberQuery(Query):
    """Its users are whole numbers, all alike."""

    def inputs(self):
        """Raw features."""
        return {**super().inputs(), c.USER_ID: tf.TensorSpec([None], tf.int64)}

    def __call__(self, encoded, training=False):
        return super().__call__({**encoded, c.USER_ID: tf.strings.as_string(encoded[c.USER_ID])})


class Candidate(Query):
    """See the module."""

    def inputs(self):
        """Raw features."""
        return {
            c.ITEM_ID: tf.TensorSpec([None], tf.string), "price": tf.TensorSpec([None], tf.float32),
            "tags": tf.TensorSpec([None, None], tf.string),
        }

    def __call__(self, encoded, training=False):
        tags = tf.reduce_sum(tf.cast(encoded["tags"] != "", tf.float32), axis=1)
        return tf.stack([encoded["price"], tags], axis=1)


def write(root, version, heads=None, objectives=(), sample=None, until=None, query=None):
    """Writes `root`/`version` and returns its path. heads, objectives: of `EventHeads`; sample: `People`; until: the
    log's end, of a version that reads the moment; query: another query tower.
    """
    path = root / str(version)
    ids = np.array(TABLE["item_id"].to_pylist(), object)
    query = query or (TimedQuery() if until else Query())
    retriever = Retriever(query, Candidate(), VECTORS, ids, None, 0.5, POPULARITY, heads=heads)
    tf.saved_model.save(retriever, str(path), signatures(retriever))
    items.write(path, TABLE)
    if sample is not None:
        people.write(path, sample)
    manifest.write(path, {
        "model": "shop", "custom_op_library": None, "embedding_space": "s", "schema": SCHEMA,
        "objectives": list(objectives), "trained_on": {"until": until},
    })
    return path
