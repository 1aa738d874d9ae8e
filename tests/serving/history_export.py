"""A small SavedModel whose answer is what the user did: ids are numbers, and every feature of a query shows.

The catalogue is items 1 to 4. An item's score is how often the history holds it, plus a tenth of the item's id, plus
the version. `echo` returns the features as the model got them.
"""

import os

import tensorflow as tf

from tests.serving import toy_export

FEATURES = {
    "user_id": tf.TensorSpec([None], tf.int64, "user_id"),
    "history_item_id": tf.TensorSpec([None, None], tf.int64, "history_item_id"),
    "history_timestamp": tf.TensorSpec([None, None], tf.int64, "history_timestamp"),
    "timestamp": tf.TensorSpec([None], tf.int64, "timestamp"),
    "age": tf.TensorSpec([None], tf.float32, "age"),
    "city": tf.TensorSpec([None], tf.string, "city"),
    "tags": tf.TensorSpec([None, None], tf.string, "tags"),
    "vector": tf.TensorSpec([None, 2], tf.float32, "vector"),
}
OPTIONS = [
    tf.TensorSpec(None, tf.int32, "k"),
    tf.TensorSpec([None, None], tf.int64, "exclude_ids"),
    tf.TensorSpec([None, None], tf.int64, "allow_ids"),
    tf.TensorSpec(None, tf.float32, "popularity_beta"),
]
_NONE = tf.zeros([1, 0], tf.int64)
SCHEMA = {
    "type": "Schema",
    "query": [{"type": "History", "length": 3}],
    "candidate": [{"type": "Id", "column": "item_id"}],
}


class Users(tf.Module):
    """See the module."""

    def __init__(self, version):
        super().__init__()
        self.version = tf.Variable(float(version))
        self.ids = tf.range(1, 5, dtype=tf.int64)

    def embed(self, features):
        """[batch, 4]: a score of each item."""
        hits = tf.cast(features["history_item_id"][:, :, tf.newaxis] == self.ids, tf.float32)
        return tf.reduce_sum(hits, axis=1) + tf.cast(self.ids, tf.float32) / 10 + self.version

    def search(self, embedding, k, exclude_ids):
        """The top k."""
        excluded = tf.reduce_any(exclude_ids[:, :, tf.newaxis] == self.ids, axis=1)
        top = tf.math.top_k(tf.where(excluded, tf.float32.min, embedding), tf.minimum(tf.reduce_max(k), 4))
        return {"ids": tf.gather(self.ids, top.indices), "scores": top.values}

    @tf.function(input_signature=[FEATURES, *OPTIONS])
    def recommend(
        self, features, k=tf.constant(2), exclude_ids=_NONE, allow_ids=_NONE, popularity_beta=tf.constant(0.0)
    ):
        """`serving_default`."""
        return self.search(self.embed(features), k, exclude_ids)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "embedding"), *OPTIONS])
    def recommend_by_vector(
        self, embedding, k=tf.constant(2), exclude_ids=_NONE, allow_ids=_NONE, popularity_beta=tf.constant(0.0)
    ):
        """The search alone."""
        return self.search(embedding, k, exclude_ids)

    @tf.function(input_signature=[FEATURES])
    def embed_query(self, features):
        """The vector alone."""
        return {"embedding": self.embed(features)}

    @tf.function(input_signature=[FEATURES])
    def echo(self, features):
        """What came."""
        return {f"got_{name}": tf.identity(value) for name, value in features.items()}


def write(root, version, **manifest):
    """Writes `root`/`version`, with further fields of its manifest, and returns its path."""
    users = Users(version)
    signatures = {name: getattr(users, name) for name in ("recommend_by_vector", "embed_query", "echo")}
    aside, path = os.path.join(root, f".tmp-{version}"), os.path.join(root, str(version))
    tf.saved_model.save(users, aside, {"serving_default": users.recommend, **signatures})
    toy_export.write_manifest(aside, schema=SCHEMA, **manifest)
    os.rename(aside, path)
    return path
