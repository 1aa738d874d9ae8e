import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

State = get_model_status_pb2.ModelVersionStatus
Code = grpc.StatusCode


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def models(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def request(inputs, signature="", name="toy", outputs=()):
    message = predict_pb2.PredictRequest(output_filter=outputs)
    message.model_spec.name = name
    message.model_spec.signature_name = signature
    for key, value in inputs.items():
        message.inputs[key].CopyFrom(value if hasattr(value, "tensor_shape") else tf.make_tensor_proto(value))
    return message


def refused(call, message):
    with pytest.raises(grpc.RpcError) as error:
        call(message)
    return error.value.code(), error.value.details()


def test_predict_fills_in_defaults(prediction):
    response = prediction.Predict(request({"user_id": ["u", "v"]}))
    assert response.model_spec.name == "toy"
    assert response.model_spec.signature_name == "serving_default"
    assert response.model_spec.version.value == 3
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["ids"]), [[b"a", b"b"]] * 2)
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["scores"]), [[7.0, 6.0]] * 2)
    # Clients of TF Serving read the typed fields.
    assert list(response.outputs["scores"].float_val) == [7, 6, 7, 6]
    assert list(response.outputs["ids"].string_val) == [b"a", b"b"] * 2


def test_predict_takes_k_exclusions_and_a_version(prediction):
    message = request({"user_id": ["u"], "k": np.int32(3), "exclude_ids": [["a", "c"]]})
    message.model_spec.version.value = 3
    response = prediction.Predict(message)
    assert tf.make_ndarray(response.outputs["ids"]).tolist() == [[b"b", b"d", b""]]


def test_every_type_comes_back(prediction):
    response = prediction.Predict(request({"x": np.array([3, -1], np.int64)}, "count"))
    assert tf.make_ndarray(response.outputs["flag"]).tolist() == [True, False]
    assert tf.make_ndarray(response.outputs["half"]).tolist() == [1.5, -0.5]
    assert tf.make_ndarray(response.outputs["calls"]).dtype == np.int32


def test_output_filter(prediction):
    response = prediction.Predict(request({"user_id": ["u"]}, outputs=["scores"]))
    assert list(response.outputs) == ["scores"]
    code, details = refused(prediction.Predict, request({"user_id": ["u"]}, outputs=["score"]))
    assert code is Code.INVALID_ARGUMENT and "Did you mean `scores`?" in details
    code, details = refused(prediction.Predict, request({"user_id": ["u"]}, outputs=["ids", "ids"]))
    assert code is Code.INVALID_ARGUMENT and "twice" in details


def _huge():
    """Claims a billion values and carries one."""
    proto = tf.make_tensor_proto(["u"])
    proto.tensor_shape.dim[0].size = 10**9
    return proto


def _unknown_shape():
    proto = tf.make_tensor_proto(["u"])
    proto.tensor_shape.unknown_rank = True
    del proto.tensor_shape.dim[:]
    return proto


def _too_many_values():
    proto = tf.make_tensor_proto(["u", "v"])
    proto.tensor_shape.dim[0].size = 1
    return proto


def _claims(shape, **values):
    """Of that shape, with these fields, however many values they hold."""
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def _of_type(number):
    proto = tensor_pb2.TensorProto(dtype=number, half_val=[70000], int_val=[70000])
    proto.tensor_shape.dim.add(size=1)
    return proto


@pytest.mark.parametrize("name, number", [*types_pb2.DataType.items(), ("unknown", 9999)])
def test_no_type_of_tensor_is_a_failure_of_the_server(prediction, name, number):
    if number != types_pb2.DT_STRING:
        assert refused(prediction.Predict, request({"user_id": _of_type(number)}))[0] is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "inputs, code, message",
    [
        ({}, Code.INVALID_ARGUMENT, "needs the inputs ['user_id']"),
        ({"user_id": ["u"], "kk": 1}, Code.INVALID_ARGUMENT, "Did you mean `k`?"),
        ({"user_id": [1]}, Code.INVALID_ARGUMENT, "`user_id` must be string"),
        ({"user_id": ["u"], "k": np.int64(1)}, Code.INVALID_ARGUMENT, "`k` must be int32"),
        ({"user_id": ["u"], "k": 6}, Code.INVALID_ARGUMENT, "`k` must be between 1 and 5"),
        ({"user_id": [["u"]]}, Code.INVALID_ARGUMENT, "must have the shape"),
        ({"user_id": _unknown_shape()}, Code.INVALID_ARGUMENT, "whole shape"),
        ({"user_id": _too_many_values()}, Code.INVALID_ARGUMENT, "do not fit"),
        ({"user_id": _claims([3], string_val=[b"u"])}, Code.INVALID_ARGUMENT, "needs 3 in its field, and 1 came"),
        ({"user_id": _claims([3])}, Code.INVALID_ARGUMENT, "needs 3 in its field, and 0 came"),
        (
            {"user_id": ["u"], "k": tensor_pb2.TensorProto(dtype=types_pb2.DT_INT32, tensor_content=b"\1\0\0")},
            Code.INVALID_ARGUMENT, "needs 4 in its field, and 3 came",
        ),
        ({"user_id": _of_type(types_pb2.DT_VARIANT)}, Code.INVALID_ARGUMENT, "Received: variant"),
        ({"user_id": ["u"], "popularity_beta": np.float32("nan")}, Code.INVALID_ARGUMENT, "be finite"),
        ({"user_id": ["u"], "popularity_beta": np.float32("inf")}, Code.INVALID_ARGUMENT, "be finite"),
        (
            {"user_id": ["u"], "history_item_id": [["a"]], "history_timestamp": np.ones([1, 2], np.int64)},
            Code.INVALID_ARGUMENT,
            "a time for each of the 1 places",
        ),
        ({"user_id": _huge()}, Code.RESOURCE_EXHAUSTED, "at most 8 rows"),
        ({"user_id": ["u"] * 9}, Code.RESOURCE_EXHAUSTED, "at most 8 rows"),
        ({"user_id": ["u"], "exclude_ids": [["a"] * 7]}, Code.RESOURCE_EXHAUSTED, "at most 6 values"),
        ({"user_id": ["u" * 5000]}, Code.RESOURCE_EXHAUSTED, "4096"),
    ],
)
def test_bad_requests_have_a_status_and_a_reason(prediction, inputs, code, message):
    given, details = refused(prediction.Predict, request(inputs))
    assert given is code and message in details


def test_what_is_not_there_is_not_found(prediction):
    assert refused(prediction.Predict, request({"user_id": ["u"]}, name="other"))[0] is Code.NOT_FOUND
    assert refused(prediction.Predict, request({"user_id": ["u"]}, "embed"))[0] is Code.NOT_FOUND
    assert refused(prediction.Predict, request({"by": np.float32(1)}, "shift"))[0] is Code.NOT_FOUND
    message = request({"user_id": ["u"]})
    message.model_spec.version.value = 4
    assert refused(prediction.Predict, message)[0] is Code.NOT_FOUND
    message.model_spec.version_label = "stable"
    assert refused(prediction.Predict, message)[0] is Code.INVALID_ARGUMENT
    assert refused(prediction.Predict, predict_pb2.PredictRequest())[0] is Code.INVALID_ARGUMENT


def test_metadata(prediction):
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    message.model_spec.name = "toy"
    response = prediction.GetModelMetadata(message)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert response.model_spec.version.value == 3
    assert sorted(signatures.signature_def["serving_default"].outputs) == ["ids", "scores"]
    message.metadata_field.append("graph")
    assert refused(prediction.GetModelMetadata, message)[0] is Code.INVALID_ARGUMENT


def test_model_status(models):
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = "toy"
    statuses = models.GetModelStatus(message).model_version_status
    assert [(s.version, s.state, s.status.error_code) for s in statuses] == [(3, State.AVAILABLE, 0)]
    message.model_spec.version.value = 4
    assert refused(models.GetModelStatus, message)[0] is Code.NOT_FOUND


def test_the_other_methods_are_unimplemented(prediction, models):
    calls = [
        (prediction.Classify, classification_pb2.ClassificationRequest()),
        (prediction.Regress, regression_pb2.RegressionRequest()),
        (prediction.MultiInference, inference_pb2.MultiInferenceRequest()),
        (models.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest()),
    ]
    for call, message in calls:
        assert refused(call, message)[0] is Code.UNIMPLEMENTED


def test_bytes_that_are_no_request_are_the_callers_fault_and_no_line_in_the_log(channel, caplog):
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    assert refused(call, b"\xff" * 200)[0] is Code.INVALID_ARGUMENT
    assert caplog.text == ""
