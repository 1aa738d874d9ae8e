"""Requests of any kind over real sockets: each is answered or refused with a reason, and none costs the server."""

import contextlib
import dataclasses
import json
import socket
import urllib.parse

import grpc
import httpx
import pytest
from fuzz.values import TEXT, few, values
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.serving.conftest import LIMITS
from tfrs_twotower.freshness import FreshItems
from tfrs_twotower.online import AnswerLog, open_stores
from tfrs_twotower.serving import Server

INPUTS = ("user_id", "history_item_id", "history_timestamp", "timestamp", "age", "city", "tags", "vector", "k",
          "exclude_ids", "allow_ids", "popularity_beta", "embedding")
SIGNATURES = ("", "serving_default", "embed_query", "recommend_by_vector", "echo")
FIELDS = ("events", "event_id", "user_id", "item_id", "timestamp", "event")
REFUSED = {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED"}


@pytest.fixture(scope="module")
def running(history_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    with contextlib.closing(open_stores(f"sqlite:{folder}/store.db")) as stores:
        with contextlib.closing(AnswerLog(folder / "log")) as log:
            settings = {"rest_port": 0, "grpc_port": 0, "limits": LIMITS, "poll_seconds": 60,
                        "stores": dataclasses.replace(stores, picks="interests")}
            with Server(history_root, name="toy", answer_log=log, **settings) as server:
                yield server


@pytest.fixture(scope="module")
def client(running):
    with httpx.Client(base_url=f"http://127.0.0.1:{running.rest_port}", timeout=20) as client:
        yield client


def checked(response):
    """An answer, or a refusal with a reason; never a failure of the server."""
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert len(response.json()["error"]) > 3
    return response


def mostly(names, inner):
    """An object of which some keys are known."""
    return st.fixed_dictionaries({}, optional={name: inner for name in names})


lists = values() | st.lists(values(), max_size=3) | st.lists(st.lists(values(), max_size=3), max_size=3)
predicts = st.fixed_dictionaries(
    {}, optional={"signature_name": st.sampled_from(SIGNATURES) | values(),
                  "inputs": mostly(INPUTS, lists) | values(INPUTS),
                  "instances": st.lists(mostly(INPUTS, lists), max_size=3) | values(INPUTS)}
) | values(("inputs", "instances", "signature_name"))


def test_any_json_to_predict(client):
    @few(80)
    @given(predicts)
    def check(body):
        checked(client.post("/v1/models/toy:predict", content=json.dumps(body)))

    check()


def test_any_json_to_events(client):
    events = st.fixed_dictionaries({"events": st.lists(mostly(FIELDS[1:], values()), max_size=3) | values(FIELDS)})

    @few(60)
    @given(events | values(FIELDS))
    def check(body):
        checked(client.post("/v1/events", content=json.dumps(body)))

    check()


def test_any_json_to_impressions(client):
    fields = ("impressions", "answer_id", "places", "dropped", "timestamp")
    listed = st.lists(mostly(fields[1:], values() | st.lists(values(), max_size=3)), max_size=3)

    @few(60)
    @given(st.fixed_dictionaries({"impressions": listed | values(fields)}) | values(fields))
    def check(body):
        checked(client.post("/v1/impressions", content=json.dumps(body)))

    check()


def test_any_json_to_items(shop_root, tmp_path):
    fields = ("item_id", "price", "tags", "category", "changed", "withdrawn")
    items = st.lists(mostly(fields[:4], values()) | st.sampled_from(["a", "b"]), max_size=3) | values(fields)
    query = {"inputs": {"user_id": ["u1"], "history_item_id": [[]], "mood": [[0, 0]]}}
    with contextlib.closing(FreshItems(tmp_path)) as fresh:
        with Server(shop_root, name="toy", rest_port=0, grpc_port=0, limits=LIMITS, fresh=fresh) as server:
            with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=20) as client:
                @few(60)
                @given(mostly(fields[4:], items) | values(fields))
                def check(body):
                    checked(client.post("/v1/items", content=json.dumps(body)))

                check()
                assert client.post("/v1/models/toy:predict", json=query).status_code == 200
                recommended = {"user_id": "u1", "features": {"mood": [0, 0], "history_item_id": []}, "k": 3}
                assert client.post("/v1/recommend", json=recommended).status_code == 200


def test_any_bytes_as_a_body(client):
    whole = json.dumps({"inputs": {"user_id": [1], "k": 2, "tags": [["é"]]}}, ensure_ascii=False).encode()

    @few(80)
    @given(st.binary(max_size=60) | st.integers(0, len(whole)).map(lambda n: whole[:n]), st.sampled_from(
        ["/v1/models/toy:predict", "/v1/events"]))
    def check(body, path):
        checked(client.post(path, content=body))

    check()
    for body in (b"[" * 4000, b'{"inputs":' * 400, b'{"inputs": ' + b"9" * 4000 + b"}", b"\xff\xfe{}", b"nan", b""):
        assert checked(client.post("/v1/models/toy:predict", content=body)).status_code == 400
    for text in ('{"inputs": {"\\ud800": 1}}', '{"signature_name": "\\udfff", "inputs": 1}'):
        assert checked(client.post("/v1/models/toy:predict", content=text)).status_code == 400


def test_any_path(client):
    parts = TEXT.map(lambda text: urllib.parse.quote(text, safe="", errors="replace")) | st.sampled_from(
        ["v1", "models", "toy", "toy:predict", "versions", "1", "9" * 30, "%00", "%ff", "..", ":", "metadata"])

    @few(60)
    @given(st.lists(parts, max_size=5), st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS"]))
    def check(path, method):
        response = client.request(method, f"{client.base_url}/" + "/".join(path))
        assert response.status_code < 500 or response.status_code == 501, response.text

    check()


def said(port, data):
    """What comes back for these bytes; the client ends its side. A server that refuses may leave bytes unread: the
    system then resets the connection, and what it had answered can be lost."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(4096):
                answer += part
    return answer


def test_any_bytes_on_the_socket(running, client):
    head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\n"
    for data in (
        b"\0" * 100, b"GET", b"POST / HTTP/9.9\r\n\r\n", head, head + b"Content-Length: 100\r\n\r\n{",
        head + b"Content-Length: -1\r\n\r\n{}", head + b"Content-Length: 99999999999999999999\r\n\r\n{}",
        head + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}", head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        head + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
    ):
        answer = said(running.rest_port, data)
        assert not answer or 400 <= int(answer.split()[1]) < 500, (data[:120], answer)

    @few(40)
    @given(st.binary(max_size=200))
    def check(data):
        answer = said(running.rest_port, data)
        assert not answer or 400 <= int(answer.split()[1]) < 500

    check()
    assert client.get("/readyz").status_code == 200


def refusal(call):
    """None for an answer, else the name of the status: one that says that the request was wrong."""
    try:
        call()
        return None
    except grpc.RpcError as error:
        assert error.code().name in REFUSED, (error.code(), error.details())
        assert len(error.details()) > 3
        return error.code().name


def test_any_struct_and_any_bytes_to_record(running):
    with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
        record = channel.unary_unary("/twotower.Events/Record")  # bytes in, bytes out

        @few(60)
        @given(st.binary(max_size=60))
        def check_bytes(data):
            refusal(lambda: record(data, timeout=20))

        numbers = st.floats() | TEXT.filter(lambda text: "\ud800" not in text and text.isprintable())

        @few(60)
        @given(st.lists(mostly(FIELDS[1:], numbers | st.lists(numbers, max_size=2)), max_size=3))
        def check(events):
            request = struct_pb2.Struct()
            request.update({"events": events})
            refusal(lambda: record(request.SerializeToString(), timeout=20))

        check_bytes()
        check()
        for value in (float("nan"), float("inf")):
            request = struct_pb2.Struct()
            request.update({"events": [{"event_id": value, "user_id": 1, "item_id": 1}]})
            assert refusal(lambda: record(request.SerializeToString(), timeout=20)) == "INVALID_ARGUMENT"


def test_any_tensor_to_predict(running):
    @st.composite
    def tensors(draw):
        proto = tensor_pb2.TensorProto(
            dtype=draw(st.sampled_from([0, 1, 2, 3, 7, 9, 10, 21, 101, 127])),
            tensor_content=draw(st.binary(max_size=24) | st.just(b"")),
            int_val=draw(st.lists(st.integers(-5, 5), max_size=3)),
            int64_val=draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)),
            float_val=draw(st.lists(st.floats(width=32), max_size=3)),
            string_val=draw(st.lists(st.binary(max_size=5), max_size=3)),
        )
        for size in draw(st.lists(st.integers(-1, 4) | st.just(2**62), max_size=4)):
            proto.tensor_shape.dim.add(size=size)
        proto.tensor_shape.unknown_rank = draw(st.integers(0, 9)) == 0
        return proto

    with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        @few(80)
        @given(st.dictionaries(st.sampled_from(INPUTS), tensors(), max_size=4), st.sampled_from(SIGNATURES))
        def check(inputs, signature):
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = "toy", signature
            for name, tensor in inputs.items():
                request.inputs[name].CopyFrom(tensor)
            refusal(lambda: stub.Predict(request, timeout=20))

        check()


def test_every_operation_of_the_openapi_document(running, client):
    """Requests that the document allows, and ones that it forbids, made by schemathesis."""
    schemathesis = pytest.importorskip("schemathesis")
    document = client.get("/openapi.json").json()
    assert "/v1/models/toy:predict" in document["paths"]
    schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    names = {name.__name__: name for name in schemathesis.checks.CHECKS.get_all()}
    checks = [names[name] for name in (
        "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"
    )]
    count = 0
    for result in schema.get_all_operations():
        operation, count = result.ok(), count + 1
        if operation.path in ("/v1/items", "/v1/elicit"):  # 501: no items are kept, and the version brings no users
            continue

        @few(5)
        @given(case=operation.as_strategy())
        def check(case):
            case.call_and_validate(checks=checks)

        check()
    assert count == sum(map(len, document["paths"].values()))
