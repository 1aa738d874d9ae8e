"""Clients that connect and do nothing, or little: closed after a while, without harm to the others."""

import errno
import json
import resource
import socket
import threading
import time
import types

import grpc
import httpx
import pytest
import tensorflow as tf
import uvicorn
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.serving.test_serving_admission import USER, value, wait_for
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.serving import Connections, Load, Server, request_timeout
from tfrs_twotower.serving.connections import HttpServer, LongestIdle, _OneWrite

PREDICT = "/v1/models/toy:predict"
HEADERS = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n".encode()


def connect(server):
    return socket.create_connection(("127.0.0.1", server.rest_port), timeout=30)


def read_all(connection):
    """All until the server closes; an abort counts as that."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def is_closed(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def slow(server):
    return value(server.metrics, 'twotower_refusals_total{reason="slow"}')


@pytest.fixture(scope="module")
def root(tmp_path_factory, publish):
    root = tmp_path_factory.mktemp("connections")
    publish(root, 3)
    return root


@pytest.fixture(scope="module")
def impatient(root):
    limits = Connections(most=50, seconds=0.2)
    with Server(root, name="toy", rest_port=0, grpc_port=0, poll_seconds=60, connections=limits) as server:
        yield server


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(impatient):
    with connect(impatient) as connection:
        connection.sendall(HEADERS.replace(b"100", b"%d" % 10**10) + b"{")
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("sent, counted", [(b"", 0), (b"GET /heal", 1), (HEADERS[:-2], 1)])
def test_headers_that_do_not_come_close_the_connection(impatient, sent, counted):
    before = slow(impatient)
    with connect(impatient) as connection:
        connection.sendall(sent)
        assert read_all(connection) == b""
    assert slow(impatient) == before + counted


def test_a_body_that_does_not_come_is_408_and_closes(impatient):
    before = slow(impatient)
    with connect(impatient) as connection:
        connection.sendall(HEADERS + b'{"inputs": ')
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"did not arrive within 0.2 s" in answer
    assert slow(impatient) == before + 1


def test_an_answer_that_nobody_reads_closes_the_connection(impatient):
    before = slow(impatient)
    body = json.dumps({"signature_name": "odd_outputs", "inputs": ["x" * 6_000_000]}).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", impatient.rest_port))
        connection.sendall(HEADERS.replace(b" 100", b" %d" % len(body)) + body)
        wait_for(lambda: slow(impatient) == before + 1, "the server to give up")


def test_a_connection_that_asks_now_and_then_stays(impatient):
    with httpx.Client(base_url=f"http://127.0.0.1:{impatient.rest_port}") as client:
        first = client.get("/healthz").extensions["network_stream"].get_extra_info("client_addr")
        threading.Event().wait(0.6)  # longer than the server waits for a request that has begun
        assert client.get("/healthz").extensions["network_stream"].get_extra_info("client_addr") == first


def test_one_too_many_closes_the_one_that_was_idle_longest_and_is_refused_when_all_are_busy(root):
    load, limits = Load(concurrency=1, queue=9, deadline_seconds=30), Connections(most=3, seconds=30)
    with Server(root, name="toy", rest_port=0, grpc_port=0, load=load, connections=limits) as server:
        url = f"http://127.0.0.1:{server.rest_port}"
        idle = []
        for number in range(3):
            idle.append(connect(server))
            wait_for(lambda: len(server._ports.http.server_state.connections) == number + 1, "the connection")
        assert httpx.get(url + "/healthz").status_code == 200
        assert read_all(idle[0]) == b""
        idle[1].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_all(idle[1]).startswith(b"HTTP/1.1 200 ")
        statuses = []
        with server._queues.predictions.acquire():
            busy = [threading.Thread(target=lambda: statuses.append(httpx.post(url + PREDICT, json=USER).status_code))
                    for _ in range(3)]
            for thread in busy:
                thread.start()
            waiting = 'twotower_queue_length{queue="predictions"}'
            wait_for(lambda: value(server.metrics, waiting) == 3, "three requests in the queue")
            refused = httpx.get(url + "/healthz")
            assert refused.status_code == 503 and "Too many connections" in refused.json()["error"]
            assert refused.headers["retry-after"] == "1"
        for thread in busy:
            thread.join()
        assert statuses == [200, 200, 200]
        assert value(server.metrics, 'twotower_refusals_total{reason="connections"}') == 1
        assert read_all(idle[2]) == b""  # made room for one of the three


def test_of_many_that_come_at_once_no_more_stay_than_may(root):
    """Each closes another one, though those that it closes are still in the list."""
    with Server(root, name="toy", rest_port=0, grpc_port=0, connections=Connections(most=3, seconds=30)) as server:
        known = server._ports.http.server_state.connections
        clients = [connect(server)]
        wait_for(lambda: len(known) == 1, "the connection")
        next(iter(known)).loop.call_soon_threadsafe(time.sleep, 0.5)  # the server accepts the others in one go
        clients += [connect(server) for _ in range(20)]
        wait_for(lambda: sum(map(is_closed, clients)) == 18, "all but three to be closed")
        assert len(known) == 3
        for client in clients:
            client.close()


@pytest.mark.parametrize("wrong", [{"most": 0}, {"seconds": 0}])
def test_limits_that_let_nobody_in_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}` must be"):
        Connections(**wrong)


def test_grpc_calls_that_are_opened_and_not_sent_are_cancelled(root):
    """More of them than there are threads; a whole request comes after them."""
    load = Load(concurrency=1, queue=0)
    settings = {"load": load, "event_load": load, "connections": Connections(seconds=0.5), "poll_seconds": 60}
    silence, request = threading.Event(), predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.inputs["user_id"].CopyFrom(tf.make_tensor_proto(["somebody"]))

    def nothing():
        silence.wait(60)
        yield from ()

    with Server(root, name="toy", rest_port=0, grpc_port=0, **settings) as server:
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            for method in ("/tensorflow.serving.PredictionService/Predict", "/twotower.Events/Record"):
                calls = [channel.stream_unary(method).future(nothing()) for _ in range(12)]
                prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
                assert {call.code() for call in calls} == {grpc.StatusCode.CANCELLED}
            assert slow(server) == 24
            silence.set()
            call = channel.stream_unary("/tensorflow.serving.PredictionService/Predict").future(iter(()))
            assert call.code() is grpc.StatusCode.INVALID_ARGUMENT and "without a message" in call.details()


def test_many_grpc_calls_that_are_not_sent_hold_others_shortly(root, monkeypatch):
    """They take all threads, more than once. One alone has the whole time."""
    monkeypatch.setattr(request_timeout, "_CROWDED_SECONDS", 0.1)
    load, silence, request = Load(concurrency=1, queue=1), threading.Event(), predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.inputs["user_id"].CopyFrom(tf.make_tensor_proto(["somebody"]))

    def nothing():
        silence.wait(60)
        yield from ()

    settings = {"load": load, "event_load": load, "connections": Connections(seconds=60), "poll_seconds": 60}
    with Server(root, name="toy", rest_port=0, grpc_port=0, **settings) as server:
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            predict = channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
            calls = [predict.future(nothing()) for _ in range(40)]
            prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
            # Another thread of the client learns of it, now or later.
            wait_for(lambda: grpc.StatusCode.CANCELLED in {call.code() for call in calls if call.done()}, "one's end")
            for call in calls:
                call.cancel()
            wait_for(lambda: not server._ports._request_timeout._waiting, "the others to end")
            alone = predict.future(nothing())
            time.sleep(0.5)
            assert not alone.done()
            silence.set()


def test_new_connections_close_the_longest_idle_ones_without_a_look_at_all_others():
    """Each of many new ones looked at each of a thousand others, which held all requests for seconds."""
    looks = []

    class Idle:
        def __init__(self, active):
            self.active, self.gone = active, False

        def can_go(self):
            looks.append(self)
            return not self.gone

    connections, idle, closed = [Idle(active) for active in (5, 3, 9, 1, 7, 2)], LongestIdle(), []
    for _ in range(3):
        closed.append(idle.among(connections))
        closed[-1].gone = True
    assert [one.active for one in closed] == [1, 2, 3] and len(looks) == 6 + 3
    connections[0].active = 10  # it was asked something meanwhile
    connections.append(Idle(4))
    closed = []
    while (one := idle.among(connections)) is not None:
        one.gone = True
        closed.append(one.active)
    assert closed == [7, 9, 4, 10]  # 4 came after the last look at all


def test_the_head_of_an_answer_goes_with_its_body():
    """One packet and one system call; and no byte is kept."""
    written, cycle = [], types.SimpleNamespace(response_started=False, response_complete=False)
    transport = types.SimpleNamespace(write=written.append, close=lambda: written.append("closed"))
    protocol = types.SimpleNamespace(cycle=cycle)
    one = _OneWrite(transport, protocol)
    one.write(b"100 Continue, ")
    cycle.response_started = True
    one.write(b"head, ")
    assert written == [b"100 Continue, "]
    one.write(b"body, ")
    one.write(b"more")
    assert written[1:] == [b"head, body, ", b"more"]
    protocol.cycle = types.SimpleNamespace(response_started=True, response_complete=False)
    one.write(b"next head")
    one.close()  # its body failed
    assert written[3:] == [b"next head", "closed"]
    protocol.cycle = types.SimpleNamespace(response_started=True, response_complete=False)
    one.write(b"last head")
    one.flush()  # it has no body
    one.flush()
    assert written[5:] == [b"last head"]


def test_headers_without_an_end_are_refused(root):
    with Server(root, name="toy", rest_port=0, grpc_port=0, poll_seconds=60) as server, connect(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        received = b""
        try:
            for _ in range(1000):
                connection.sendall(b"X-Filler: " + b"x" * 1000 + b"\r\n")
        except OSError:  # closed
            pass
        received = read_all(connection)
        assert received.startswith(b"HTTP/1.1 431 ") or not received  # a reset takes the answer away
        assert value(server.metrics, 'twotower_refusals_total{reason="headers"}') == 1
        with connect(server) as kept:  # the headers of one request after another are not added up
            for _ in range(20):
                kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Filler: " + b"x" * 8000)
                kept.sendall(b"\r\n\r\n")
                received = b""
                while not received.endswith(b"ok\n"):
                    received += kept.recv(4096)
                assert received.startswith(b"HTTP/1.1 200 ")
        body = b'{"inputs": {"user_id": ["' + b"u" * 200_000 + b'"]}}'  # a body is no header
        assert httpx.post(f"http://127.0.0.1:{server.rest_port}{PREDICT}", content=body).status_code == 200


def receive(connection, count=1):
    """[(status, body)] of so many answers, and no byte more."""
    received, answers = b"", []
    for _ in range(count):
        while b"\r\n\r\n" not in received:
            received += connection.recv(4096)
        head, _, received = received.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        while len(received) < size:
            received += connection.recv(4096)
        answers.append((int(head.split()[1]), received[:size]))
        received = received[size:]
    assert not received
    return answers


def test_a_request_that_offers_http_2_is_answered_by_http_1(root):
    """Java's client offers it with every first request, and sends the body all the same."""
    body = json.dumps(USER).encode()
    upgrade = b"%d\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n" % len(body)
    request = HEADERS.replace(b"100\r\n", upgrade) + body
    with Server(root, name="toy", rest_port=0, grpc_port=0, poll_seconds=60) as server, connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request)
        first, = receive(connection)
        assert first[0] == 200
        for cut in range(1, len(request), 7):  # wherever a packet ends
            connection.sendall(request[:cut])
            time.sleep(0.002)
            connection.sendall(request[cut:].replace(b"Upgrade", b"UPGRADE"))
            assert receive(connection) == [first]


def test_what_is_no_request_is_refused_at_once(root):
    with Server(root, name="toy", rest_port=0, grpc_port=0, poll_seconds=60) as server:
        for sent in (b"\x16\x03\x01\x02\x00\x01", b"\r\n\r\n{}", b"GET\n\n", b"GET / HTTP/9\r\n\r\n"):
            with connect(server) as connection:  # the first bytes of TLS, for one
                connection.settimeout(5)
                connection.sendall(sent)
                assert read_all(connection).startswith(b"HTTP/1.1 400 ")


def test_the_answer_to_head_comes_and_the_connection_stays(root):
    with Server(root, name="toy", rest_port=0, grpc_port=0, poll_seconds=60) as server, connect(server) as connection:
        connection.settimeout(5)
        for _ in range(2):
            connection.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            head = connection.recv(4096)
            assert head.startswith(b"HTTP/1.1 200 ") and head.endswith(b"\r\n\r\n")


def test_a_request_waits_until_the_one_before_it_is_answered(root):
    """Whatever packets they come in; and what is wrong with it is not the answer to the other one."""
    body = json.dumps(USER).encode()
    post = HEADERS.replace(b"100", b"%d" % len(body)) + body
    upgrade = post.replace(b"Host", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHost")
    large = HEADERS.replace(b"100", b"200000") + b" " * (200_000 - len(body)) + body
    chunked = HEADERS.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked")
    chunked += b"%x\r\n%b\r\n" % (len(body), body)
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with Server(root, name="toy", rest_port=0, grpc_port=0, poll_seconds=60) as server:
        for sent, later, statuses in (
            (get + upgrade + upgrade, b"", [200, 200, 200]),
            (b"\r\n" + upgrade[:70], upgrade[70:], [200]),
            (b"\r\n\r\n" + upgrade, b"", [200]),
            (large + get[:30], get[30:], [200, 200]),
            (chunked + b"0\r\nHost: y\r\nA: b\r\n\r\n", get, [200, 200]),
            (post + b"!!!!\r\n\r\n", b"", [200, 400]),
            (chunked + b"0\r\n\r\n" + get, b"", [200]),  # where the chunks end, no more is read
            (chunked + b"zz\r\n", b"", [400]),
            (b"GET /healthz HTTP/1.1\r\n\r\n", b"", [400]),
            (get[:-2] + b"Host: y\r\n\r\n", b"", [400]),
        ):
            with connect(server) as connection:
                connection.settimeout(10)
                connection.sendall(sent)
                time.sleep(0.1 if later else 0)
                connection.sendall(later)
                assert [status for status, _ in receive(connection, len(statuses))] == statuses, sent[:200]
                if statuses[-1] == 400 or sent.endswith(b"0\r\n\r\n" + get):
                    assert read_all(connection) == b""


def test_what_one_client_sends_without_an_end_takes_no_memory(root):
    """Trailers of chunks, and requests that it sends without waiting for an answer."""
    trailers = HEADERS.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked") + b"0\r\n"
    many = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 4000
    with Server(root, name="toy", rest_port=0, grpc_port=0, poll_seconds=60) as server:
        with connect(server) as connection:
            connection.sendall(trailers)
            with pytest.raises(OSError):
                for _ in range(10_000):
                    connection.sendall(b"a: b\r\n" * 1000)
        with connect(server) as connection:
            connection.settimeout(2)
            known = server._ports.http.server_state.connections
            with pytest.raises(TimeoutError):
                while True:
                    connection.sendall(many)  # it reads no answer
            assert sum(len(one._rest) for one in list(known)) < 2**20 and not any(one.pipeline for one in list(known))
        for size in (60_000, 66_000, 70_000):  # in one packet
            with connect(server) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * size + b"\r\n\r\n")
                assert receive(connection)[0][0] == (200 if size < 65_536 else 431)


def test_headers_behind_a_request_that_is_not_answered_yet_have_the_same_limit(root):
    with Server(root, name="toy", rest_port=0, grpc_port=0, poll_seconds=60) as server, connect(server) as connection:
        get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
        connection.sendall(get + b"\r\n" + get)  # the second one's end does not come
        try:
            for _ in range(100):
                connection.sendall(b"X-Filler: " + b"x" * 1000 + b"\r\n")
        except OSError:  # closed
            pass
        wait_for(lambda: value(server.metrics, 'twotower_refusals_total{reason="headers"}') == 1, "the refusal")


def test_bodies_that_do_not_end_take_a_bounded_part_of_the_memory(root):
    limits = Connections(body_bytes=150_000, seconds=30)
    with Server(root, name="toy", rest_port=0, grpc_port=0, poll_seconds=60, connections=limits) as server:
        url = f"http://127.0.0.1:{server.rest_port}{PREDICT}"
        with connect(server) as connection:
            connection.sendall(HEADERS.replace(b"100", b"200000") + b" " * 100_000)
            wait_for(lambda: server._rest._bodies._bytes == 100_000, "the body's first part")
            refused = httpx.post(url, content=b" " * 60_000)
            assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
            assert httpx.post(url, json=USER).status_code == 200
        wait_for(lambda: server._rest._bodies._bytes == 0, "the bytes to be free again")
        assert value(server.metrics, 'twotower_refusals_total{reason="bodies"}') == 1


def test_messages_of_grpc_calls_take_a_bounded_part_of_the_memory(root):
    limits = Connections(body_bytes=150_000)
    with Server(root, name="toy", rest_port=0, grpc_port=0, poll_seconds=60, connections=limits) as server:
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "toy"
            for size in (100_000, 100_000, 200_000, 100_000):  # those that were answered take none
                request.inputs["user_id"].CopyFrom(tf.make_tensor_proto(["u" * size]))
                if size < 150_000:
                    assert predict(request).outputs
                else:
                    with pytest.raises(grpc.RpcError) as refused:
                        predict(request)
                    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                    assert "take all the memory" in refused.value.details()
                    assert ("grpc-retry-pushback-ms", "1000") in [tuple(m) for m in refused.value.trailing_metadata()]
        assert value(server.metrics, 'twotower_refusals_total{reason="bodies"}') == 1


def test_no_more_grpc_connections_are_open_than_may(root):
    limits = Connections(most=3, seconds=60)
    with Server(root, name="toy", rest_port=0, grpc_port=0, poll_seconds=60, connections=limits) as server:
        clients = [socket.create_connection(("127.0.0.1", server.grpc_port), timeout=30) for _ in range(6)]
        wait_for(lambda: sum(map(is_closed, clients)) == 3, "three to be closed")
        for client in clients:
            client.close()


def test_grpc_connections_that_say_nothing_are_closed(root):
    limits = Connections(most=6, seconds=1)
    with Server(root, name="toy", rest_port=0, grpc_port=0, poll_seconds=60, connections=limits) as server:
        silent = [socket.create_connection(("127.0.0.1", server.grpc_port), timeout=30) for _ in range(6)]
        for connection in silent:
            read_all(connection)  # ends, as the server closes it
            connection.close()
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "toy"
        request.inputs["user_id"].CopyFrom(tf.make_tensor_proto(["somebody"]))
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert stub.Predict(request, timeout=30, wait_for_ready=True).model_spec.version.value == 3


def test_the_process_may_open_as_many_files_as_the_system_lets_it(caplog):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] // 2, before[1]))
        Connections().allow_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
        assert not caplog.text
        Connections(most=before[1]).allow_files()
        assert f"{before[1]} open files" in caplog.text and "--connections" in caplog.text
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_that_no_file_can_be_opened_is_said_once_in_a_while(caplog):
    server = HttpServer(uvicorn.Config(None, log_config=None), Connections())
    for _ in range(1000):
        server._tell(None, {"message": "", "exception": OSError(errno.EMFILE, "Too many open files")})
    assert caplog.text.count("Too many open files") == 1
