"""Keys and certificates, with real ones; and what the log says of a request."""

import contextlib
import json
import logging
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import types

import grpc
import httpx
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving.test_serving_admission import value, wait_for
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.serving import Access, CannotServe, Connections, Server, logs
from tfrs_twotower.serving.access import ApiKeys

FIRST, SECOND = "0123456789abcdef", "fedcba9876543210"
PREDICT = "/v1/models/toy:predict"
USER = {"inputs": {"user_id": ["somebody"]}}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(certificate, key): signed by itself, for 127.0.0.1."""
    return made(tmp_path_factory.mktemp("tls"))


def made(folder):
    """The paths of a new certificate and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        reason = "needs openssl, which is not installed"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    paths = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-out", paths[0], "-keyout", paths[1]],
        check=True, capture_output=True,
    )
    return paths


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(f"# the shop's\n{FIRST}\n\n  {SECOND}  \n")
    return str(path)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, publish, certificate, keys):
    root = tmp_path_factory.mktemp("guarded")
    publish(root, 3)
    access = Access(keys, *certificate)
    with Server(root, name="toy", rest_port=0, grpc_port=0, poll_seconds=60, access=access) as server:
        yield server


@pytest.fixture(scope="module")
def client(guarded, certificate):
    trust = ssl.create_default_context(cafile=certificate[0])
    with httpx.Client(base_url=f"https://127.0.0.1:{guarded.rest_port}", verify=trust) as client:
        yield client


@pytest.fixture(scope="module")
def channel(guarded, certificate):
    with open(certificate[0], "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    with grpc.secure_channel(f"127.0.0.1:{guarded.grpc_port}", credentials) as channel:
        yield channel


def predict_over(channel, *metadata):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.inputs["user_id"].CopyFrom(tf.make_tensor_proto(["somebody"]))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return stub.Predict.with_call(request, metadata=metadata, timeout=30)


@pytest.mark.parametrize("given, status", [
    (None, 401), ("", 401), (FIRST, 401), (f"Basic {FIRST}", 401), (f"Bearer {FIRST}x", 401), ("Bearer", 401),
    (f"Bearer {FIRST[:-1]}", 401), ("Bearer # the shop's", 401), (b"Bearer \xff", 401), (f"Bearer {FIRST}", 200),
    (f"bearer  {SECOND}", 200),
])
def test_rest_asks_for_a_key_over_tls(client, given, status):
    response = client.post(PREDICT, json=USER, headers={} if given is None else {"Authorization": given})
    assert response.status_code == status
    if status == 401:
        assert response.headers["www-authenticate"] == "Bearer" and "Authorization: Bearer KEY" in response.text


def test_new_keys_and_certificates_need_no_restart(publish, tmp_path, certificate, caplog):
    publish(tmp_path, 3)
    (tmp_path / "new").mkdir()
    files, newer = [str(tmp_path / name) for name in ("cert.pem", "key.pem")], made(tmp_path / "new")
    for source, path in zip(certificate, files):
        shutil.copy(source, path)
    (tmp_path / "keys").write_text(FIRST)
    access = Access(str(tmp_path / "keys"), *files)
    with Server(tmp_path, name="toy", rest_port=0, grpc_port=0, poll_seconds=60, access=access) as server:
        def ask(trusted, key):
            trust, url = ssl.create_default_context(cafile=trusted), f"https://127.0.0.1:{server.rest_port}{PREDICT}"
            return httpx.post(url, json=USER, headers={"Authorization": f"Bearer {key}"}, verify=trust).status_code

        assert ask(files[0], FIRST) == 200 and ask(files[0], SECOND) == 401
        (tmp_path / "keys").write_text(f"{SECOND}\n")
        assert ask(files[0], FIRST) == 401 and ask(files[0], SECOND) == 200
        (tmp_path / "keys").write_text("short")
        shutil.copy(newer[1], files[1])  # no pair yet
        assert ask(certificate[0], SECOND) == 200 and ask(certificate[0], SECOND) == 200
        assert "at least 16" in caplog.text and "The earlier certificate stays in use" in caplog.text
        shutil.copy(newer[0], files[0])
        with contextlib.suppress(httpx.ConnectError):
            ask(newer[0], SECOND)
        assert ask(newer[0], SECOND) == 200
        credentials = grpc.ssl_channel_credentials((tmp_path / "new" / "cert.pem").read_bytes())
        with grpc.secure_channel(f"127.0.0.1:{server.grpc_port}", credentials) as channel:
            predict_over(channel, ("authorization", f"Bearer {SECOND}"))


def test_health_is_open_and_all_else_is_not(client):
    for path, status in (
        ("/healthz", 200), ("/readyz", 200), ("/metrics", 401), ("/monitoring/prometheus/metrics", 401),
        ("/v1/models/toy", 401), ("/v1/models/toy/metadata", 401), ("/healthz/", 401), ("/nothing", 401),
    ):
        assert client.get(path).status_code == status, path
    headers = {"Authorization": f"Bearer {FIRST}"}
    text = client.get("/metrics", headers=headers).text
    assert 'twotower_refusals_total{reason="unauthenticated"}' in text and FIRST not in text


def test_grpc_asks_for_a_key_over_tls(channel):
    for metadata in ((), (("authorization", "Bearer no"),)):
        with pytest.raises(grpc.RpcError) as error:
            predict_over(channel, *metadata)
        assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.RpcError) as error:
        request = get_model_status_pb2.GetModelStatusRequest()
        model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request)
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
    response, _ = predict_over(channel, ("authorization", f"Bearer {SECOND}"))
    assert response.model_spec.version.value == 3


def test_plain_text_gets_no_answer_from_a_server_with_tls(guarded):
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{guarded.rest_port}/healthz")
    with grpc.insecure_channel(f"127.0.0.1:{guarded.grpc_port}") as channel:
        with pytest.raises(grpc.RpcError) as error:
            predict_over(channel, ("authorization", f"Bearer {FIRST}"))
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("text, reason", [
    ("", "must hold a key"), ("# none\n", "must hold a key"), ("short\n", "Key 1 of .* at least 16"),
    (f"{FIRST}\ntwo words in a line\n", "Key 2 of"), ("é" * 20, "all ASCII"),
])
def test_files_that_hold_no_good_keys_are_refused(tmp_path, text, reason):
    (tmp_path / "keys").write_text(text)
    with pytest.raises(CannotServe, match=reason):
        ApiKeys(tmp_path / "keys")
    with pytest.raises(CannotServe, match="cannot be read"):
        ApiKeys(tmp_path / "none")


def test_certificates_that_are_none_are_refused(tmp_path, certificate, keys):
    for files in ((certificate[1], certificate[0]), (keys, certificate[1]), (certificate[0], str(tmp_path / "none"))):
        with pytest.raises(CannotServe, match="cannot be used"):
            Server(tmp_path, rest_port=0, grpc_port=0, access=Access(None, *files)).start()
    with pytest.raises(ConfigError, match="`tls_cert` needs `tls_key`"):
        Access(tls_cert=certificate[0])


def test_other_machines_need_a_key_or_the_word(tmp_path, keys, certificate, caplog):
    with pytest.raises(CannotServe, match="0.0.0.0 can be reached from other machines"):
        Server(tmp_path, host="0.0.0.0", rest_port=0, grpc_port=0).start()
    for access in (Access(insecure=True), Access(keys)):
        with Server(tmp_path, host="0.0.0.0", rest_port=0, grpc_port=0, access=access) as server:
            assert httpx.get(f"http://127.0.0.1:{server.rest_port}/healthz").status_code == 200
    assert caplog.text.count("API keys come over 0.0.0.0 unencrypted") == 1
    Access(keys, *certificate).check_address("0.0.0.0")
    Access(keys).check_address("::1")
    Access().check_address("127.0.0.2")
    assert caplog.text.count("unencrypted") == 1


def test_a_request_keeps_its_id_in_the_answer_and_in_one_line_of_the_log(client, channel, caplog):
    name, key = "order-17.a", f"Bearer {FIRST}"
    with caplog.at_level(logging.INFO, "tfrs_twotower.serving.requests"):
        good = client.post(PREDICT, json=USER, headers={"Authorization": key, "X-Request-Id": name})
        bad = client.post(PREDICT, json={"inputs": {"somebody": 1}},
                          headers={"Authorization": key, "X-Request-Id": "two words"})
        _, call = predict_over(channel, ("authorization", key), ("x-request-id", name))
    assert good.headers["x-request-id"] == name == dict(call.trailing_metadata())["x-request-id"]
    made = bad.headers["x-request-id"]
    assert len(made) == 32 and client.get("/healthz").headers["x-request-id"] != made
    formatter = logs.JsonFormatter()
    lines = [formatter.format(record) for record in caplog.records]
    first, second, third = [json.loads(line) for line in lines]
    assert 0 < first.pop("milliseconds") and first.pop("time").endswith("+00:00")
    assert first == {
        "level": "info", "logger": "tfrs_twotower.serving.requests", "message": "request", "request_id": name,
        "method": "rest:predict", "signature": "serving_default", "status": "OK", "version": 3,
    }
    assert (second["request_id"], second["status"]) == (made, "INVALID_ARGUMENT")
    assert (third["request_id"], third["method"], third["version"]) == (name, "grpc:Predict", 3)
    assert "somebody" not in "".join(lines) and FIRST not in "".join(lines)


def test_a_page_of_another_site_changes_nothing_on_a_server_without_keys(publish, tmp_path):
    publish(tmp_path, 1)
    with Server(tmp_path, name="toy", rest_port=0, grpc_port=0, poll_seconds=60) as server:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}") as client:
            for site, status in (("same-origin", 200), ("cross-site", 403)):
                answer = client.post(PREDICT, json=USER, headers={"Sec-Fetch-Site": site})
                assert answer.status_code == status and ("--api-key-file" in answer.text) == (status == 403)
            assert client.get("/readyz", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
            assert client.post(PREDICT, json=USER).status_code == 200


def test_an_exception_is_one_line_too():
    try:
        raise KeyError("x")
    except KeyError as error:
        record = logging.LogRecord("n", logging.ERROR, "f", 1, "%s broke", ("it",), (KeyError, error, None))
    line = logs.JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "it broke" and "KeyError" in json.loads(line)["exception"]
    assert logs.TextFormatter().format(logging.makeLogRecord({"msg": "m", "fields": {"a": 1}})) == "m a=1"


def test_a_call_without_a_key_is_refused_before_its_message_comes(guarded, channel):
    silence = threading.Event()

    def nothing():
        silence.wait(60)
        yield from ()

    calls = [channel.stream_unary("/tensorflow.serving.PredictionService/Predict").future(nothing()) for _ in range(9)]
    begun = time.monotonic()
    assert {call.code() for call in calls} == {grpc.StatusCode.UNAUTHENTICATED}
    assert time.monotonic() - begun < 9  # it would be cancelled after 10 s without a message
    silence.set()


def test_an_answer_that_nobody_reads_closes_a_tls_connection(tmp_path, publish, certificate):
    publish(tmp_path, 3)
    access, limits = Access(None, *certificate), Connections(seconds=0.5)
    body = json.dumps({"signature_name": "odd_outputs", "inputs": ["x" * 6_000_000]}).encode()
    trust = ssl.create_default_context(cafile=certificate[0])
    with Server(tmp_path, name="toy", rest_port=0, grpc_port=0, access=access, connections=limits) as server:
        with socket.socket() as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.settimeout(60)
            plain.connect(("127.0.0.1", server.rest_port))
            with trust.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)
                slow = 'twotower_refusals_total{reason="slow"}'
                wait_for(lambda: value(server.metrics, slow) == 1, "the server to give up")


def test_a_tls_handshake_that_does_not_come_is_closed(tmp_path, publish, certificate):
    publish(tmp_path, 3)
    access, limits = Access(None, *certificate), Connections(seconds=0.5)
    with Server(tmp_path, name="toy", rest_port=0, grpc_port=0, access=access, connections=limits) as server:
        for port in (server.rest_port, server.grpc_port):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                assert connection.recv(1) == b""  # asyncio alone waits for a minute, gRPC for two


def test_tls_handshakes_that_do_not_come_make_room_for_others(tmp_path, publish, certificate, monkeypatch):
    """No more than `most` are kept, each with its buffers; one whose handshake is over is no longer among them."""
    monkeypatch.setitem(sys.modules, "uvloop", types.ModuleType("uvloop"))  # an event loop that counts none
    publish(tmp_path, 3)
    access, limits = Access(None, *certificate), Connections(most=3, seconds=60)
    trust = ssl.create_default_context(cafile=certificate[0])
    with Server(tmp_path, name="toy", rest_port=0, grpc_port=0, access=access, connections=limits) as server:
        with httpx.Client(base_url=f"https://127.0.0.1:{server.rest_port}", verify=trust, timeout=30) as before:
            assert before.get("/healthz").status_code == 200
            silent = [socket.create_connection(("127.0.0.1", server.rest_port), timeout=30) for _ in range(8)]
            for connection in silent[:5]:
                with contextlib.suppress(ConnectionResetError):
                    assert connection.recv(1) == b""
            assert len(server._ports.http._handshakes) == 3
            assert before.get("/healthz").status_code == 200
            with httpx.Client(base_url=before.base_url, verify=trust, timeout=30) as new:
                assert new.get("/healthz").status_code == 200
            assert len(server._ports.http._handshakes) == 2  # the new one took the place of the oldest
            for connection in silent:
                connection.close()
            wait_for(lambda: not server._ports.http._handshakes, "the handshakes to end")
