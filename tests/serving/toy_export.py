"""A small SavedModel with the signatures, defaults and manifest of a real export.

Items "a", "b", "c", "d" score 4, 3, 2, 1 plus the version for every user, so that an answer tells which
version gave it. A user id that begins with "n" gets one NaN.
"""

import os

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from tfrs_twotower.exporting import manifest

ITEMS = ["a", "b", "c", "d"]
LOWEST = float(np.finfo(np.float32).min)
_STRINGS = tf.TensorSpec([None], tf.string, "user_id")
_LISTS = [None, None]


class Toy(tf.Module):
    """Scores do not depend on the user. `version` is added to each."""

    def __init__(self, version):
        super().__init__()
        self.version = tf.Variable(float(version))
        self.ids = tf.constant(ITEMS)
        self.base = tf.Variable([4.0, 3.0, 2.0, 1.0])
        self.calls = tf.Variable(0)

    @tf.function(
        input_signature=[
            _STRINGS,
            tf.TensorSpec(_LISTS, tf.string, "history_item_id"),
            tf.TensorSpec(_LISTS, tf.int64, "history_timestamp"),
            tf.TensorSpec(None, tf.int32, "k"),
            tf.TensorSpec(_LISTS, tf.string, "exclude_ids"),
            tf.TensorSpec(None, tf.float32, "popularity_beta"),
        ]
    )
    def recommend(
        self,
        user_id,
        history_item_id=tf.constant([], tf.string, [1, 0]),
        history_timestamp=tf.constant([], tf.int64, [1, 0]),
        k=tf.constant(2),
        exclude_ids=tf.constant([], tf.string, [1, 0]),
        popularity_beta=tf.constant(0.0),
    ):
        excluded = tf.reduce_any(self.ids[None, :, None] == exclude_ids[:, None, :], axis=2)
        allowed = tf.ones([tf.size(user_id), 1], tf.bool) & ~excluded
        beta = tf.reshape(popularity_beta, [-1, 1])
        scores = tf.where(allowed, self.base + self.version - beta, LOWEST)
        top = tf.math.top_k(scores, tf.minimum(tf.reduce_max(k), 4))
        ids = tf.where(top.values > LOWEST, tf.gather(self.ids, top.indices), "")
        broken = tf.strings.regex_full_match(user_id, "n.*")[:, None] & (top.indices == 3)
        return {"ids": ids, "scores": tf.where(broken, float("nan"), top.values)}

    @tf.function(input_signature=[_STRINGS])
    def embed_query(self, user_id):
        lengths = tf.strings.length(user_id)
        return {"embedding": tf.stack([lengths, tf.fill(tf.shape(lengths), tf.size(user_id))], 1)}

    @tf.function(input_signature=[_STRINGS, tf.TensorSpec(_LISTS, tf.string, "candidate_ids")])
    def score_pairs(self, user_id, candidate_ids):
        hits = tf.cast(candidate_ids[:, :, None] == self.ids, tf.float32)
        return {"scores": tf.linalg.matvec(hits, self.base) + 0.2}

    @tf.function(input_signature=[_STRINGS])
    def odd_outputs(self, user_id):
        return {
            "raw_bytes": user_id,
            "text": user_id,
            "total": tf.size(user_id),
            "limits": tf.constant([float("inf"), float("-inf")]),
        }

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "path")])
    def held(self, path):
        """Answers once there is a file of that path."""
        looks = tf.while_loop(lambda i: tf.size(tf.io.matching_files(path)) == 0, lambda i: [i + 1], [0])
        with tf.control_dependencies(looks):
            return {"path": tf.identity(path)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "by")])
    def shift(self, by):
        """Changes every answer: no request may call it."""
        with tf.control_dependencies([self.move(by)]):
            return {"version": self.version.read_value()}

    @tf.function
    def move(self, by):
        """A function inside, as in a real export."""
        return tf.cond(by > 0, lambda: self.version.assign_add(by), lambda: self.version.read_value())

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "x")])
    def count(self, x):
        """The model itself refuses numbers below −1000."""
        with tf.control_dependencies([tf.debugging.assert_greater(x, tf.constant(-1001, tf.int64), "Too low.")]):
            x = tf.identity(x)
        return {"calls": tf.reshape(self.calls, [1]), "flag": x > 0, "half": tf.cast(x, tf.float64) / 2}


def write(root, version):
    """Writes `root`/`version` and returns its path."""
    toy = Toy(version)
    names = ("embed_query", "score_pairs", "odd_outputs", "held", "count", "shift")
    signatures = {"serving_default": toy.recommend, **{name: getattr(toy, name) for name in names}}
    return _publish(toy, signatures, root, version)


def write_scann(root, version, vectors):
    """A version whose `serving_default` searches `vectors` [n, dim] for `query` [batch, dim] by ScaNN."""
    from scann.scann_ops.py import scann_ops

    class Search(tf.Module):
        def __init__(self):
            super().__init__()
            builder = scann_ops.builder(vectors, 3, "dot_product").tree(4, 4, 100, min_partition_size=1)
            self.state = builder.score_brute_force().build().serialize_to_module()

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, vectors.shape[1]], tf.float32, "query"),
                tf.TensorSpec(None, tf.int32, "k"),
            ]
        )
        def recommend(self, query, k=tf.constant(3)):
            searcher = scann_ops.searcher_from_module(self.state)
            rows, scores = searcher.search_batched(query, final_num_neighbors=tf.reduce_max(k))
            return {"ids": tf.strings.as_string(rows), "scores": scores}

    module = Search()
    signatures = {"serving_default": module.recommend}
    options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
    return _publish(module, signatures, root, version, "scann", options)


def _publish(module, signatures, root, version, custom_op_library=None, options=None):
    aside, path = os.path.join(root, f".tmp-{version}"), os.path.join(root, str(version))
    tf.saved_model.save(module, aside, signatures, options)
    if custom_op_library is None:
        write_warm_up(aside, {"user_id": ["warm"]})
    write_manifest(aside, custom_op_library)
    os.rename(aside, path)
    return path


def write_manifest(directory, custom_op_library=None, **fields):
    manifest.write(directory, {"custom_op_library": custom_op_library, **fields})


def write_warm_up(directory, inputs):
    """Two equal requests of `serving_default`."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "twotower"
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    extra = os.path.join(directory, "assets.extra")
    os.makedirs(extra)
    with tf.io.TFRecordWriter(os.path.join(extra, "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())
        writer.write(log.SerializeToString())


def serve_one_at_a_time(root):
    """Serves until SIGTERM, one prediction at a time; the work of a process of its own."""
    from tfrs_twotower.serving import Load, serve

    load = Load(concurrency=1, deadline_seconds=60)
    serve(root, rest_port=0, grpc_port=0, poll_seconds=60, drain_seconds=60, load=load)
