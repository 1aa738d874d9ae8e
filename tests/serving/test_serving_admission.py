"""Who runs, who waits, who is refused: with the turns held by the test itself, so that nothing depends on speed."""

import asyncio
import contextlib
import json
import socket
import threading
import time

import grpc
import httpx
import pytest
import tensorflow as tf
from google.protobuf import struct_pb2
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.serving import DeadlineExceeded, Load, Overloaded, Server, Unavailable
from tfrs_twotower.serving.admission import Admission
from tfrs_twotower.serving.errors import Cancelled
from tfrs_twotower.serving.metrics import Metrics

PREDICT = "/v1/models/toy:predict"
USER = {"inputs": {"user_id": ["u"]}}


def wait_for(condition, what):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.005)


def value(metrics, line):
    rows = [row for row in metrics.text()[0].decode().splitlines() if row.startswith(line + " ")]
    return float(rows[0].split()[-1])


def in_thread(work):
    """Starts `work`; returns a function that waits for its end and gives what it returned."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(work()))
    thread.start()

    def result():
        thread.join(30)
        return answers[0]

    return result


def test_turns_come_in_the_order_of_the_line_and_no_more_run_than_may():
    metrics, order, running = Metrics(), [], []
    admission = Admission(Load(concurrency=2, queue=10, deadline_seconds=30), "x", metrics)

    def work(number, place):
        with place:
            order.append(number)
            running.append(admission._running)

    with admission.acquire(), contextlib.ExitStack() as second:
        second.enter_context(admission.acquire())
        waiting = [in_thread(lambda n=n, p=admission.acquire(): work(n, p)) for n in range(5)]
        assert value(metrics, 'twotower_queue_length{queue="x"}') == 5
        second.close()  # one place goes from each to the next
        for result in waiting:
            result()
    assert order == [0, 1, 2, 3, 4] and set(running) == {2}
    assert value(metrics, 'twotower_queue_length{queue="x"}') == 0
    assert value(metrics, 'twotower_queue_seconds_count{queue="x"}') == 7
    assert admission.drain(0) == 0


def test_a_full_line_refuses_at_once_and_a_place_comes_back():
    metrics = Metrics()
    admission = Admission(Load(concurrency=1, queue=1, deadline_seconds=30), "x", metrics)
    with admission.acquire():
        result = in_thread(lambda p=admission.acquire(): p.__enter__())
        with pytest.raises(Overloaded, match="1 requests wait already"):
            admission.acquire()
        assert value(metrics, 'twotower_refusals_total{reason="queue_full"}') == 1
    result().__exit__()
    with admission.acquire():
        pass


@pytest.mark.parametrize("deadline, given", [(0.01, None), (60, 0.01), (60, -1)])
def test_a_turn_that_does_not_come_in_time_is_given_up(deadline, given):
    metrics = Metrics()
    admission = Admission(Load(concurrency=1, queue=1, deadline_seconds=deadline), "x", metrics)
    with admission.acquire():
        for _ in range(2):  # the place in the line is free again
            with pytest.raises(DeadlineExceeded, match="did not come within"):
                with admission.acquire(given):
                    pass
    assert value(metrics, 'twotower_refusals_total{reason="deadline"}') == 2
    assert admission.drain(0) == 0


@pytest.mark.parametrize("came", [False, True])
def test_a_place_that_is_cancelled_on_the_event_loop_is_free_again(came):
    admission = Admission(Load(concurrency=1, queue=1, deadline_seconds=30), "x", Metrics())

    async def cancelled():
        with admission.acquire() as first:
            async def enter():
                async with admission.acquire():
                    pytest.fail("it was cancelled")

            task = asyncio.ensure_future(enter())
            await asyncio.sleep(0)
            assert admission._length() == 1
            if came:  # the loop does not learn of it before the task is cancelled
                first.__exit__()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancelled())
    assert admission.drain(0) == 0


def test_a_failure_ends_the_turn():
    admission = Admission(Load(concurrency=1, queue=0), "x", Metrics())
    for _ in range(2):
        with pytest.raises(KeyError), admission.acquire():
            raise KeyError
    assert admission.drain(0) == 0


def test_closed_it_refuses_what_comes_and_finishes_what_is_there():
    admission = Admission(Load(concurrency=1, queue=1, deadline_seconds=30), "x", Metrics())
    with admission.acquire():
        done = in_thread(lambda p=admission.acquire(): p.__enter__() and p.__exit__())
        admission.close()
        with pytest.raises(Unavailable, match="stopping"):
            admission.acquire()
        assert admission.drain(0) == 2
    done()
    assert admission.drain(30) == 0


def test_requests_in_a_line_of_their_own_count_for_the_sum_alone():
    metrics = Metrics()
    admission, length = Admission(Load(concurrency=1, queue=1), "x", metrics), 'twotower_queue_length{queue="x"}'
    with admission.apart() as begin:
        assert value(metrics, length) == 1
        for _ in range(2):  # once counts
            begin()
            assert (value(metrics, length), value(metrics, 'twotower_queue_seconds_count{queue="x"}')) == (0, 1)
        with admission.acquire():  # it runs
            with pytest.raises(Overloaded, match="1 requests wait already"), admission.apart():
                pass
            with pytest.raises(Overloaded):
                admission.acquire()
        admission.close()
        assert admission.drain(0) == 1
        with pytest.raises(Unavailable), admission.apart():
            pass
    assert admission.drain(0) == 0


def test_who_leaves_a_line_of_their_own_waits_no_more_and_cannot_begin():
    metrics = Metrics()
    admission = Admission(Load(), "x", metrics)
    with admission.apart() as begin:
        pass
    begin()  # a thread that answers a group does not know who has left
    assert value(metrics, 'twotower_queue_length{queue="x"}') == 0 == admission.drain(0)
    assert b'twotower_queue_seconds_count{queue="x"}' not in metrics.text()[0]


def test_a_small_rest_request_that_is_joined_takes_no_turn(shop_root):
    load = Load(concurrency=1, queue=1, deadline_seconds=30)
    inputs = {"user_id": ["u1"], "history_item_id": [["a"]], "mood": [[1.0, 1.0]]}
    exact = {**inputs, "popularity_beta": 0.5}
    with Server(shop_root, rest_port=0, grpc_port=0, poll_seconds=60, load=load) as server:
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/{server.name}:predict"
        with server._queues.predictions.acquire():
            small = httpx.post(url, json={"inputs": inputs}, timeout=10)
            assert small.status_code == 200, small.text
            assert value(server.metrics, 'twotower_queue_seconds_count{queue="predictions"}') == 2  # it ran, too
            with pytest.raises(httpx.ReadTimeout):  # an exact search takes a thread, and so a turn
                httpx.post(url, json={"inputs": exact}, timeout=httpx.Timeout(30, read=0.5))
        assert httpx.post(url, json={"inputs": exact}, timeout=30).status_code == 200


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"queue": -1}, {"deadline_seconds": 0}])
def test_a_load_that_lets_nothing_through_is_refused(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}` must be"):
        Load(**wrong)


@pytest.fixture(scope="module")
def small(tmp_path_factory, publish):
    """A server that runs one prediction and lets one wait."""
    root = tmp_path_factory.mktemp("small")
    publish(root, 3)
    load = Load(concurrency=1, queue=1, deadline_seconds=30)
    with Server(root, name="toy", rest_port=0, grpc_port=0, poll_seconds=60, load=load) as server:
        yield server


@pytest.fixture(scope="module")
def client(small):
    with httpx.Client(base_url=f"http://127.0.0.1:{small.rest_port}", timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def channel(small):
    with grpc.insecure_channel(f"127.0.0.1:{small.grpc_port}") as channel:
        yield channel


def predict_over(channel, timeout=30):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.inputs["user_id"].CopyFrom(tf.make_tensor_proto(["u"]))
    return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=timeout)


def length(server):
    return value(server.metrics, 'twotower_queue_length{queue="predictions"}')


def test_a_full_queue_is_429_and_resource_exhausted_and_the_rest_answers(small, client, channel):
    with small._queues.predictions.acquire():
        waiting = in_thread(lambda: httpx.post(str(client.base_url) + PREDICT, json=USER, timeout=30))
        wait_for(lambda: length(small) == 1, "a request in the queue")
        refused = client.post(PREDICT, json=USER)
        assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
        assert "wait already" in refused.json()["error"]
        with pytest.raises(grpc.RpcError) as error:
            predict_over(channel)
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert ("grpc-retry-pushback-ms", "1000") in [tuple(pair) for pair in error.value.trailing_metadata()]
        for path in ("/healthz", "/readyz", "/metrics", "/v1/models/toy", "/v1/models/toy/metadata"):
            assert client.get(path).status_code == 200
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "toy"
        model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, timeout=30)
        assert client.post("/v1/events", json={"events": []}).status_code == 501  # another line; no store here
    assert waiting().status_code == 200
    assert client.post(PREDICT, json=USER).status_code == 200
    assert 'status="RESOURCE_EXHAUSTED"} 1.0' in client.get("/metrics").text


def test_a_grpc_client_s_own_deadline_counts(small, channel):
    queue = small._queues.predictions
    with queue.acquire():
        asked = in_thread(lambda: pytest.raises(grpc.RpcError, predict_over, channel, timeout=1))
        wait_for(lambda: queue._length() == 1, "the request")
        assert asked().value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        wait_for(lambda: queue._length() == 0, "the server to give up too")
    assert predict_over(channel).model_spec.version.value == 3


def test_a_passed_deadline_is_504(tmp_path, publish):
    publish(tmp_path, 1)
    load = Load(concurrency=1, queue=4, deadline_seconds=0.05)
    with Server(tmp_path, name="toy", rest_port=0, grpc_port=0, load=load, event_load=load) as server:
        url = f"http://127.0.0.1:{server.rest_port}"
        with server._queues.predictions.acquire(), server._queues.events.acquire():
            response = httpx.post(url + PREDICT, json=USER)
            assert response.status_code == 504 and "within 0.05 s" in response.json()["error"]
            assert httpx.post(url + "/v1/events", json={"events": []}).status_code == 504
            with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
                with pytest.raises(grpc.RpcError) as error:
                    predict_over(channel)
                assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                record = channel.unary_unary(
                    "/twotower.Events/Record", struct_pb2.Struct.SerializeToString, struct_pb2.Struct.FromString
                )
                with pytest.raises(grpc.RpcError) as error:
                    record(struct_pb2.Struct(), timeout=30)
                assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert httpx.post(url + PREDICT, json=USER).status_code == 200


def test_draining_refuses_what_comes_and_ends_when_the_last_is_answered(tmp_path, publish):
    publish(tmp_path, 1)
    load = Load(concurrency=1, queue=4, deadline_seconds=30)
    server = Server(tmp_path, name="toy", rest_port=0, grpc_port=0, load=load, drain_seconds=30)
    server.start()
    url = f"http://127.0.0.1:{server.rest_port}"
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        with server._queues.predictions.acquire():
            waiting = in_thread(lambda: httpx.post(url + PREDICT, json=USER, timeout=30))
            wait_for(lambda: length(server) == 1, "a request in the queue")
            stopped = in_thread(server.stop)
            wait_for(lambda: httpx.get(url + "/readyz").status_code == 503, "/readyz")
            refused = httpx.post(url + PREDICT, json=USER)
            assert refused.status_code == 503 and "stopping" in refused.json()["error"]
            with pytest.raises(grpc.RpcError) as error:
                predict_over(channel)
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE and "stopping" in error.value.details()
            assert httpx.get(url + "/healthz").status_code == 200
            assert httpx.get(url + "/metrics").status_code == 200
        assert waiting().status_code == 200
        assert stopped() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(url + "/healthz")


def test_what_does_not_end_in_time_is_counted_and_cut_off(tmp_path, publish, caplog):
    publish(tmp_path, 1)
    server = Server(tmp_path, rest_port=0, grpc_port=0, drain_seconds=0.05)
    server.start()
    with server._queues.predictions.acquire():
        assert server.stop() == 1
    assert "1 requests did not finish within 0.05 s" in caplog.text


def test_small_requests_go_before_large_ones_and_few_large_ones_run():
    admission, order = Admission(Load(concurrency=2, queue=9, deadline_seconds=30), "x", Metrics(), most_large=1), []
    with admission.acquire() as first, admission.acquire() as second:
        first.pause()  # nobody waits: it comes back at once, as the one large request that runs
        paused = in_thread(lambda: (second.pause(), order.append("second")))
        wait_for(lambda: len(admission._paused) == 1, "the second to wait")
        with admission.acquire():  # it has the free turn, a small one
            order.append("small")
            line = [admission.acquire() for _ in range(2)]
            waiting = [in_thread(lambda p=p, n=n: (p.__enter__(), order.append(n))) for n, p in enumerate(line)]
            assert admission._length() == 3
        wait_for(lambda: order[1:] == [0], "the one that waited first")
        line[0].__exit__()
        wait_for(lambda: order[1:] == [0, 1], "the other small one")
        line[1].__exit__()
        assert admission._length() == 1 and "second" not in order  # there is room, but not for a large one
        first.__exit__()
        paused()
        for done in waiting:
            done()
    assert order == ["small", 0, 1, "second"] and admission.drain(0) == 0


def test_large_requests_leave_half_of_the_queue_to_small_ones():
    metrics = Metrics()
    admission = Admission(Load(concurrency=3, queue=4, deadline_seconds=30), "x", metrics, most_large=1)
    with contextlib.ExitStack() as stack:
        first, second, third = [stack.enter_context(admission.acquire()) for _ in range(3)]
        first.pause()
        waiting = in_thread(second.pause)
        wait_for(lambda: len(admission._paused) == 1, "the second to wait")
        with pytest.raises(Overloaded, match="2 large requests run already"):
            third.pause()
        first.__exit__()
        waiting()
    assert admission.drain(0) == 0 and value(metrics, 'twotower_refusals_total{reason="queue_full"}') == 1


def test_a_large_request_is_stopped_when_it_takes_too_long():
    metrics = Metrics()
    admission = Admission(Load(concurrency=1, queue=2, deadline_seconds=30, execution_seconds=0.05), "x", metrics)
    with pytest.raises(DeadlineExceeded, match="not answered within 0.05.* fewer rows"), admission.acquire() as place:
        place.pause()
        time.sleep(0.1)
        place.pause()
    assert admission.drain(0) == 0 and value(metrics, 'twotower_refusals_total{reason="deadline"}') == 1


def test_who_goes_away_leaves_the_line_and_ends_before_the_next_block():
    admission = Admission(Load(concurrency=1, queue=2, deadline_seconds=30), "x", Metrics())

    def refused(work):
        with pytest.raises(Cancelled, match="went away"):
            work()
        return True

    with pytest.raises(Cancelled), admission.acquire() as running:
        place = admission.acquire()
        waiting = in_thread(lambda: refused(place.__enter__))
        place.cancel()
        assert waiting() and admission._length() == 0
        gone = admission.acquire()
        gone.cancel()
        assert refused(gone.__enter__)
        running.cancel()
        running.pause()
    assert admission.drain(0) == 0


def test_draining_ends_when_the_last_one_goes_away_before_its_next_block():
    admission = Admission(Load(concurrency=1), "x", Metrics())
    place, draining = admission.acquire(), threading.Event()

    def drain():
        draining.set()
        return admission.drain(30), time.monotonic()

    with pytest.raises(Cancelled), place:
        drained = in_thread(drain)
        draining.wait(30)
        time.sleep(0.1)  # so that it waits
        place.cancel()
        ended = time.monotonic()
        place.pause()
    left, at = drained()
    assert left == 0 and at - ended < 15


def test_a_client_that_closes_its_connection_leaves_the_line(small, client, channel):
    body = json.dumps(USER).encode()
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with small._queues.predictions.acquire():
        with socket.create_connection(("127.0.0.1", small.rest_port)) as connection:
            connection.sendall(head + body)
            wait_for(lambda: length(small) == 1, "a request in the queue")
        wait_for(lambda: length(small) == 0, "the queue to be left")
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "toy"
        request.inputs["user_id"].CopyFrom(tf.make_tensor_proto(["u"]))
        call = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict.future(request, timeout=30)
        wait_for(lambda: length(small) == 1, "a call in the queue")
        call.cancel()
        wait_for(lambda: length(small) == 0, "the queue to be left")
    assert client.post(PREDICT, json=USER).status_code == 200
