"""Answers get an id and are kept with what they were made of; what was seen of them is kept; a full disk is said."""

import json
import time

import grpc
import httpx
import pytest
import tensorflow as tf
from google.protobuf import struct_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tfrs_twotower.online import AnswerLog, Event, new_answer_id, read_answers, read_seen
from tfrs_twotower.serving import Server
from tfrs_twotower.serving.grpc_service import METHODS

PREDICT = "/v1/models/twotower:predict"


@pytest.fixture
def served(history_root, stores, tmp_path):
    """(a server that keeps its answers, a client, the log's folder)."""
    log = AnswerLog(tmp_path / "log")
    stores.history.append([Event("1", "7", "2", 50), Event("2", "7", "3", 60)])
    stores.profiles.put({"7": {"city": "Rome", "tags": ["x", "y"]}})
    with Server(history_root, rest_port=0, grpc_port=0, stores=stores, answer_log=log) as server:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}") as client:
            yield server, client, log
    log.close()


def kept(log):
    return {row["answer_id"]: row for row in read_answers(log.folder).to_pylist()}


def test_each_row_of_a_prediction_is_kept_with_the_features_that_the_tower_read(served):
    _, client, log = served
    body = {"inputs": {"user_id": [7, 8], "k": 2, "age": [3.5, None], "timestamp": [100, 101]}}
    answer = client.post(PREDICT, json=body).json()
    first, second = (kept(log)[name] for name in answer["answer_id"])
    assert (first["user_id"], first["version"], first["arm"]) == ("7", 1, "")
    assert json.loads(first["features"]) == {
        "user_id": 7, "history_item_id": [2, 3], "history_timestamp": [50, 60], "timestamp": 100, "age": 3.5,
        "city": "Rome", "tags": ["x", "y"], "vector": [0.0, 0.0],
    }
    assert json.loads(second["features"]) == {
        "user_id": 8, "history_item_id": [], "history_timestamp": [], "timestamp": 101, "age": None, "city": "",
        "tags": [], "vector": [0.0, 0.0],
    }
    assert json.loads(first["context"]) == {"signature": "serving_default", "k": 2}
    assert [[int(i) for i in row["item_id"]] for row in (first, second)] == answer["outputs"]["ids"]
    assert first["score"] == pytest.approx(answer["outputs"]["scores"][0])
    by_row = client.post(PREDICT, json={"instances": [{"user_id": 7}]}).json()
    assert by_row["answer_id"][0] in kept(log) and len(by_row["predictions"]) == 1
    assert "answer_id" not in client.post(PREDICT, json={"signature_name": "echo", "inputs": {"user_id": [7]}}).json()


def test_answers_over_grpc_are_kept_too(served):
    server, _, log = served
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "twotower"
    message.inputs["user_id"].CopyFrom(tf.make_tensor_proto([7], tf.int64))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        name, = tf.make_ndarray(predict(message).outputs["answer_id"]).tolist()
        assert kept(log)[name.decode()]["user_id"] == "7"
        message.output_filter.append("ids")
        assert list(predict(message).outputs) == ["ids"]
        service, method = METHODS["impressions"]
        call = channel.unary_unary(f"/{service}/{method}", struct_pb2.Struct.SerializeToString,
                                   struct_pb2.Struct.FromString)
        seen = struct_pb2.Struct()
        seen.update({"impressions": [{"answer_id": name.decode(), "places": [0, 1]}]})
        assert dict(call(seen)) == {"recorded": 1}
    assert read_seen(log.folder)["place"].to_pylist() == [[0, 1]]


def test_an_answer_by_rules_is_kept_with_them(shop_root, stores, tmp_path):
    log = AnswerLog(tmp_path / "log", wait=False)
    with Server(shop_root, rest_port=0, grpc_port=0, stores=stores, answer_log=log) as server:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}") as client:
            asked = {"k": 2, "channels": {"popular": 1}, "features": {"mood": [0, 9]}}
            answer = client.post("/v1/recommend", json={"user_id": "u1", **asked}).raise_for_status().json()
            response = client.post("/v1/impressions", json={
                "impressions": [{"answer_id": answer["answer_id"], "places": [0], "dropped": [1], "timestamp": 5}],
            })
            assert (response.status_code, response.json()) == (200, {"recorded": 1})
            for name, places, says in ((answer["answer_id"], [-1], "`places` must"), ("a", [0], "`answer_id` must")):
                wrong = client.post("/v1/impressions", json={"impressions": [{"answer_id": name, "places": places}]})
                assert wrong.status_code == 400 and f"impressions[0]: {says}" in wrong.json()["error"]
            many = client.post("/v1/impressions", json={"impressions": [{}] * 1001})
            assert many.status_code == 413
    log.close()
    row = kept(log)[answer["answer_id"]]
    assert row["user_id"] == "u1" and json.loads(row["context"]) == {"k": 2, "channels": {"popular": 1}}
    assert json.loads(row["features"])["mood"] == [0, 9]
    shown = [(item["item_id"], item["channel"]) for item in answer["items"]]
    assert list(zip(row["item_id"], row["channel"])) == shown and len(shown) == 2
    seen = read_seen(log.folder).to_pylist()
    assert [(one["timestamp"], one["place"], one["dropped"]) for one in seen] == [
        (row["timestamp"], [0], [1])]  # not before its answer


def test_a_full_disk_loses_answers_from_the_log_and_no_request(served):
    _, client, log = served
    body = {"inputs": {"user_id": [7], "tags": [["x" * 200_000]]}}
    log._file._writer.execute("PRAGMA max_page_count = 1")
    answer = client.post(PREDICT, json=body)
    assert answer.status_code == 200 and answer.json()["outputs"]["ids"] == [[3, 2]]
    assert answer.json()["answer_id"] == [""]
    assert client.get("/readyz").text == "degraded: answers\n"
    refused = client.post("/v1/impressions", json={"impressions": [
        {"answer_id": new_answer_id(9.0), "places": list(range(1000))} for _ in range(90)]})
    assert refused.status_code == 503 and "Send the same impressions again" in refused.json()["error"]
    metrics = client.get("/metrics").text
    assert 'twotower_answers_total{result="lost"} 1.0' in metrics and 'failures_total{what="answers"} 2.0' in metrics
    log._file._writer.execute("PRAGMA max_page_count = 1000000")
    assert client.post(PREDICT, json=body).status_code == 200
    deadline = time.monotonic() + 30  # a thread finds out that there is room again
    while client.get("/readyz").text != "ready\n":
        assert time.monotonic() < deadline
    assert len(kept(log)) == 1


def test_without_a_log_no_answer_has_an_id_and_impressions_are_refused(shop_root, stores):
    with Server(shop_root, rest_port=0, grpc_port=0, stores=stores) as server:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}") as client:
            asked = {"user_id": ["u1"], "mood": [[0, 9]], "k": 1}
            for path, body in (("/v1/recommend", {"user_id": "u1", "features": {"mood": [0, 9]}}),
                               ("/v1/models/shop:predict", {"inputs": asked})):
                response = client.post(path, json=body)
                assert response.status_code == 200 and "answer_id" not in response.json(), response.text
            response = client.post("/v1/impressions", json={"impressions": [{"answer_id": "a", "places": [0]}]})
            assert response.status_code == 501 and "--log-requests" in response.json()["error"]
