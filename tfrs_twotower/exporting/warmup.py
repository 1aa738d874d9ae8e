"""Warm-up requests in `assets.extra`, which TF Serving replays before a version takes traffic."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower import extras
from tfrs_twotower.exporting import beside


def write(
    directory: str | Path, model_name: str, batches: Sequence[Mapping[str, tf.Tensor]], item_id: tf.Tensor
) -> int:
    """Writes one `serving_default` and one `embed_query` request for each batch of raw query features, and one
    `similar_items` request.

    The first call of a signature takes seconds on a busy machine.

    Args:
      directory: the version's folder.
      model_name: the model's name in the requests.
      batches: a list of {input name: [batch, …]}.
      item_id: [1], an item of the catalogue.

    The protos come from tensorflow-serving-api. Nothing is written if it is not installed.

    Returns:
      The number of requests written.
    """
    if not extras.available("tensorflow_serving.apis"):
        return 0
    predict_pb2 = extras.require("tensorflow_serving.apis.predict_pb2")
    log_pb2 = extras.require("tensorflow_serving.apis.prediction_log_pb2")
    path = beside.place(directory, "tf_serving_warmup_requests")
    k = {c.K: tf.constant(10)}
    asked = [request for features in ({c.safe(name): value for name, value in batch.items()} for batch in batches)
             for request in ((c.SERVING_DEFAULT, {**features, **k}), (c.EMBED_QUERY, features))]
    asked.append((c.SIMILAR_ITEMS, {c.ITEM_ID: item_id, **k}))
    with tf.io.TFRecordWriter(path) as writer:
        for signature, inputs in asked:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = log_pb2.PredictionLog(predict_log=log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
    return len(asked)
