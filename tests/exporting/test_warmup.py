"""What a version is asked before it takes traffic."""

import pytest
import tensorflow as tf

from tfrs_twotower.exporting import warmup


def test_answers_for_users_and_for_items_are_both_warmed_up(tmp_path):
    log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    features = {"user_id": tf.constant(["u"])}
    assert warmup.write(tmp_path, "toy", [features], tf.constant(["a"])) == 3
    records = tf.data.TFRecordDataset(str(tmp_path / "assets.extra" / "tf_serving_warmup_requests"))
    requests = [log_pb2.PredictionLog.FromString(r).predict_log.request for r in records.as_numpy_iterator()]
    assert {request.model_spec.name for request in requests} == {"toy"}
    assert [
        (request.model_spec.signature_name, {name: tf.make_ndarray(t).tolist() for name, t in request.inputs.items()})
        for request in requests
    ] == [
        ("serving_default", {"user_id": [b"u"], "k": 10}), ("embed_query", {"user_id": [b"u"]}),
        ("similar_items", {"item_id": [b"a"], "k": 10}),
    ]
