import os
import re
import signal
import socket
import threading
import time

import grpc
import httpx
import ports
import pytest
import tensorflow as tf
from forked import Forked
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.serving import toy_export
from tfrs_twotower.cli.main import main
from tfrs_twotower.serving import CannotServe, Connections, Server

PREDICT = "/v1/models/twotower:predict"


def wait_for(condition, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.01)


def _ask_rest(port, scores, errors, stop):
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        while not stop.is_set():
            try:
                response = client.post(PREDICT, json={"inputs": {"user_id": ["u"]}})
                response.raise_for_status()
                scores.append(response.json()["outputs"]["scores"][0][0])
            except Exception as error:
                errors.append(error)


def _ask_grpc(port, scores, errors, stop):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "twotower"
    request.inputs["user_id"].CopyFrom(tf.make_tensor_proto(["u"]))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        while not stop.is_set():
            try:
                response = stub.Predict(request)
                version = response.model_spec.version.value
                assert response.outputs["scores"].float_val[0] == 4 + version
                scores.append(4 + version)
            except Exception as error:
                errors.append(error)


def test_new_versions_come_in_under_load_without_a_failed_request(tmp_path, publish):
    publish(tmp_path, 1)
    stop, errors = threading.Event(), []
    with Server(tmp_path, rest_port=0, grpc_port=0, poll_seconds=0.02) as server:
        asks = [(_ask_rest, server.rest_port)] * 2 + [(_ask_grpc, server.grpc_port)] * 2
        answers = [[] for _ in asks]
        threads = [
            threading.Thread(target=ask, args=(port, scores, errors, stop))
            for (ask, port), scores in zip(asks, answers)
        ]
        for thread in threads:
            thread.start()
        for version in (1, 2, 3, 4):
            if version > 1:
                publish(tmp_path, version)
            for scores in answers:
                wait_for(lambda: scores and scores[-1] == 4 + version, f"version {version}")
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    for scores in answers:
        assert scores == sorted(scores) and set(scores) == {5.0, 6.0, 7.0, 8.0}


def test_nothing_loaded_is_503_and_unready_until_a_version_comes(tmp_path, publish):
    with Server(tmp_path, rest_port=0, grpc_port=0, poll_seconds=0.02) as server:
        base = f"http://127.0.0.1:{server.rest_port}"
        response = httpx.post(base + PREDICT, json={"inputs": {"user_id": ["u"]}})
        assert response.status_code == 503 and "error" in response.json()
        assert httpx.get(base + "/readyz").status_code == 503
        assert httpx.get(base + "/healthz").status_code == 200
        assert httpx.get(base + "/v1/models/twotower").status_code == 404
        assert httpx.get(base + "/v1/models/twotower/metadata").status_code == 503
        publish(tmp_path, 1)
        wait_for(server.ready, "version 1")
        assert httpx.post(base + PREDICT, json={"inputs": {"user_id": ["u"]}}).status_code == 200


def test_a_refused_version_shows_in_status_and_metrics(tmp_path, publish):
    publish(tmp_path, 1)
    os.remove(publish(tmp_path, 2) / "manifest.json")
    os.rename(tmp_path / "2", tmp_path / "3")
    with Server(tmp_path, rest_port=0, grpc_port=0) as server:
        base = f"http://127.0.0.1:{server.rest_port}"
        newest, serving = httpx.get(base + "/v1/models/twotower").json()["model_version_status"]
        assert (newest["version"], newest["state"]) == ("3", "END")
        assert newest["status"]["error_code"] == "FAILED_PRECONDITION"
        assert "manifest.json" in newest["status"]["error_message"]
        assert (serving["version"], serving["state"]) == ("1", "AVAILABLE")
        metrics = httpx.get(base + "/metrics").text
        assert 'twotower_model_loads_total{result="refused"} 1.0' in metrics
        assert "twotower_model_version 1.0" in metrics


def test_the_model_is_called_as_its_manifest_says(tmp_path, publish):
    toy_export.write_manifest(publish(tmp_path, 1), model="films")
    with Server(tmp_path, rest_port=0, grpc_port=0) as server:
        assert server.name == "films"
        assert httpx.get(f"http://127.0.0.1:{server.rest_port}/v1/models/films").status_code == 200


def test_a_run_that_takes_the_place_of_another_is_swapped_in_under_load(tmp_path, publish):
    """`latest` moves between runs whose exports all are version 1, while requests come in."""
    for run, score in (("old", 1), ("new", 2)):
        os.makedirs(tmp_path / run)
        os.rename(publish(tmp_path, score), tmp_path / run / "1")
    (tmp_path / "latest").symlink_to("old")
    stop, errors, scores = threading.Event(), [], []
    with Server(tmp_path / "latest", rest_port=0, grpc_port=0, poll_seconds=0.02) as server:
        thread = threading.Thread(target=_ask_rest, args=(server.rest_port, scores, errors, stop))
        thread.start()
        for run, score in (("old", 5.0), ("new", 6.0), ("old", 5.0)):
            (tmp_path / "aside").symlink_to(run)
            os.replace(tmp_path / "aside", tmp_path / "latest")
            wait_for(lambda: scores and scores[-1] == score, f"the {run} run")
        stop.set()
        thread.join()
    assert errors == [] and set(scores) == {5.0, 6.0}


@pytest.mark.parametrize("argument", ["rest_port", "grpc_port"])
def test_a_port_that_cannot_be_had_is_an_error(server, argument):
    ports = {"rest_port": 0, "grpc_port": 0}
    taken = getattr(server, argument)
    for port, reason in (
        (taken, f"port {taken}: Address already in use. Choose another `{argument}`"),
        (65536, f"`{argument}` must be between 0 and 65535. Received: {argument}=65536"),
        (-1, f"`{argument}` must be between 0 and 65535"),
    ):
        with pytest.raises(CannotServe, match=re.escape(reason)):
            Server(server.repository.root, **{**ports, argument: port}).start()


def test_one_port_for_both_is_an_error(server):
    port, = ports.free(1)
    with pytest.raises(CannotServe, match=f"port {port}: .* Choose another `grpc_port`"):
        Server(server.repository.root, rest_port=port, grpc_port=port).start()
    socket.create_server(("127.0.0.1", port)).close()  # what was taken is given back


def test_a_start_that_is_broken_off_leaves_no_port_and_no_thread(tmp_path, publish):
    class Interrupted:  # as by Ctrl-C while a version loads
        def attach(self, model):
            raise KeyboardInterrupt

        def detach(self, model):
            pass

    publish(tmp_path, 1)
    before = set(threading.enumerate())
    server = Server(tmp_path, rest_port=0, grpc_port=0, fresh=Interrupted(), connections=Connections(seconds=0.1))
    with pytest.raises(KeyboardInterrupt):
        server.start()
    for port in (server.rest_port, server.grpc_port):
        socket.create_server(("127.0.0.1", port)).close()
    wait_for(lambda: not [t for t in threading.enumerate() if t not in before and t.name == "patience"], "the thread")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "é..b"])
def test_an_unknown_host_is_an_error(server, host):
    with pytest.raises(CannotServe, match="Cannot listen on .* or `host`"):
        Server(server.repository.root, host=host, rest_port=0, grpc_port=0).start()


def test_the_command_refuses_in_one_line(tmp_path, server, capfd):
    root = str(server.repository.root)
    for arguments, reason in (
        ([str(tmp_path / "none")], "`root` must be a folder"),
        ([root, "--rest-port", str(server.rest_port)], "Address already in use"),
        ([root, "--rest-port", "0", "--grpc-port", str(server.grpc_port)], "Address already in use"),
        ([root, "--rest-port", "0", "--grpc-port", "99999"], "between 0 and 65535"),
        ([root, "--host", "no-such-host.invalid"], "Cannot listen on no-such-host.invalid"),
        ([root, "--host", "0.0.0.0", "--rest-port", "0", "--grpc-port", "0"], "or say --insecure"),
        ([root, "--tls-cert", "cert.pem"], "`tls_cert` needs `tls_key`"),
        ([root, "--api-key-file", "none"], "API keys cannot be read"),
    ):
        capfd.readouterr()
        assert main(["serve", *arguments]) == 1
        out, err = capfd.readouterr()
        assert out == "" and err.startswith("twotower: ") and reason in err and err.count("\n") == 1


def _start(root):
    process = Forked("tests.serving.toy_export:serve_one_at_a_time", root)
    line = process.stdout.readline()
    address = r"127\.0\.0\.1:(\d+)"
    expected = rf"Serving twotower \(version 1\) at http://{address}/v1/models/twotower and gRPC {address}\n"
    found = re.fullmatch(expected, line)
    assert found, line
    return process, int(found[1]), int(found[2])


def test_sigterm_lets_requests_in_flight_and_in_the_queue_finish(tmp_path, publish):
    """Requests by both transports, held; SIGTERM while one runs and one waits; both are answered; it ends well."""
    publish(tmp_path, 1)
    process, rest_port, grpc_port = _start(tmp_path)
    base = f"http://127.0.0.1:{rest_port}"
    gate, answers = tmp_path / "gate", {}

    def ask_rest():
        body = {"signature_name": "held", "inputs": str(gate)}
        answers["rest"] = httpx.post(base + PREDICT, json=body, timeout=60).json()["outputs"]

    def ask_grpc():
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "twotower", "held"
        request.inputs["path"].CopyFrom(tf.make_tensor_proto(str(gate)))
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answers["grpc"] = stub.Predict(request, timeout=60).outputs["path"].string_val[0]

    try:
        threads = [threading.Thread(target=ask) for ask in (ask_rest, ask_grpc)]
        for thread in threads:
            thread.start()
        waits = 'twotower_queue_length{queue="predictions"} 1.0'
        wait_for(lambda: waits in httpx.get(base + "/metrics").text, "a request that runs and one that waits")
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: httpx.get(base + "/readyz").status_code == 503, "/readyz")
        assert answers == {}
        gate.touch()
        for thread in threads:
            thread.join()
        assert answers == {"rest": str(gate), "grpc": str(gate).encode()}
        assert process.wait(30) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(base + "/healthz")
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
