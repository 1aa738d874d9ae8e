"""A small real export that takes in item events; the score of its best item tells which one it is.

Its catalogue is items 1 to 4, each worth a tenth of its id. A new item is worth its price. Scores are these times the
number of the export.
"""

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.exporting import Retriever, items, manifest, signatures

BEST = 0.4
_IDS = np.arange(1, 5)
_SCHEMA = {
    "type": "Schema", "query": [{"type": "History", "length": 3}], "candidate": [{"type": "Id", "column": "item_id"}],
}


class Query(tf.Module):
    """1 for everybody."""

    user_table = None

    def inputs(self):
        """Raw features."""
        return {
            c.USER_ID: tf.TensorSpec([None], tf.int64), c.HISTORY_ITEM_ID: tf.TensorSpec([None, None], tf.int64),
            "age": tf.TensorSpec([None], tf.float32),
        }

    def encode(self, raw):
        """Raw features as they are."""
        return raw

    def __call__(self, encoded, training=False):
        return tf.ones([tf.size(encoded[c.USER_ID]), 1])


class Candidate(Query):
    """The price."""

    def inputs(self):
        """Raw features."""
        return {c.ITEM_ID: tf.TensorSpec([None], tf.int64), "price": tf.TensorSpec([None], tf.float32)}

    def __call__(self, encoded, training=False):
        return encoded["price"][:, tf.newaxis]


def write(root, number):
    """Writes `root`/`number`."""
    path = root / str(number)
    prices = (_IDS / 10).astype(np.float32)
    retriever = Retriever(
        Query(), Candidate(), prices[:, np.newaxis], _IDS, None, 1 / number, np.full(4, -1, np.float32)
    )
    tf.saved_model.save(retriever, str(path), signatures(retriever))
    items.write(path, pa.table({c.ITEM_ID: _IDS, "price": prices}))
    manifest.write(path, {"model": "toy", "custom_op_library": None, "embedding_space": str(number), "schema": _SCHEMA})
