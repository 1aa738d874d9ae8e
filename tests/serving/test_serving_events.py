"""Events by REST and gRPC: kept before the answer, seen by the next request, refused with a reason."""

import time

import grpc
import httpx
import pytest
from google.protobuf import struct_pb2

from tfrs_twotower.online import Event, Retention, StoreError, open_stores
from tfrs_twotower.serving import Limits, Server, load_export
from tfrs_twotower.serving.grpc_service import METHODS
from tfrs_twotower.serving.recommend import recommendations

PREDICT = "/v1/models/twotower:predict"


@pytest.fixture
def server(history_root, stores):
    limits = Limits(max_events=3, max_body_bytes=4096)
    with Server(history_root, rest_port=0, grpc_port=0, limits=limits, stores=stores) as server:
        yield server


@pytest.fixture
def client(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}") as client:
        yield client


def event(event_id, item=2, user=7, **fields):
    return {"event_id": event_id, "user_id": user, "item_id": item, **fields}


def best(client, user=7):
    return client.post(PREDICT, json={"inputs": {"user_id": [user], "k": 1}}).json()["outputs"]["ids"][0][0]


def test_the_next_request_of_the_user_sees_the_event(client, stores):
    assert best(client) == 4
    response = client.post("/v1/events", json={"events": [event("e1"), event("e2", item="3", event="buy")]})
    assert (response.status_code, response.json()) == (200, {"recorded": 2, "known": 0})
    assert best(client) == 3 and best(client, 8) == 4
    again = client.post("/v1/events", json={"events": [event("e1"), event("e3", timestamp=5)]})
    assert again.json() == {"recorded": 1, "known": 1}
    assert best(client) == 2  # twice by now
    assert [(e.event_id, e.timestamp == 5, e.event) for e in stores.history.last(["7"], 9)[0]] == [
        ("e3", True, ""), ("e1", False, ""), ("e2", False, "buy"),
    ]
    metrics = client.get("/metrics").text
    assert 'twotower_events_total{result="new"} 3.0' in metrics
    assert 'twotower_events_total{result="known"} 1.0' in metrics
    assert 'twotower_requests_total{method="rest:events",signature="",status="OK"} 2.0' in metrics


@pytest.mark.parametrize(
    "body, status, message",
    [
        (b"{", 400, "JSON"),
        ([1], 400, "must be a JSON object"),
        ({}, 400, "one key, 'events'"),
        ({"events": []}, 400, "one key, 'events'"),
        ({"events": {}}, 400, "one key, 'events'"),
        ({"events": [event("e")], "more": 1}, 400, "one key, 'events'"),
        ({"events": [event("e"), {"event_id": "f"}]}, 400, "events[1]: An event needs `user_id`"),
        ({"events": [event("e", item="milk")]}, 400, "events[0]: `item_id` must be a whole number, as in the model"),
        ({"events": [event("e", user="x")]}, 400, "`user_id` must be a whole number"),
        ({"events": [event("e", user="0_7")]}, 400, "`user_id` must be a whole number"),
        ({"events": [event("e", user="-07", item="-01")]}, 400, "`item_id` must be a whole number"),
        ({"events": [event("e", user="9" * 19)]}, 400, "of 64 bits"),
        ({"events": [event("e", timestamp=10**12)]}, 400, "Seconds, not milliseconds"),
        ({"events": [event(str(n)) for n in range(4)]}, 413, "at most 3 events"),
        ({"events": [event("e" * 5000)]}, 413, "at most 4096 bytes"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_kept(client, stores, body, status, message):
    given = {"content": body} if isinstance(body, bytes) else {"json": body}
    response = client.post("/v1/events", **given)
    assert response.status_code == status and message in response.json()["error"]
    assert stores.history.last(["7"], 9) == [[]]


def test_ids_are_kept_as_the_model_writes_numbers(client, stores):
    client.post("/v1/events", json={"events": [event("e", item=" 03", user="007")]})
    assert stores.history.last(["7"], 1)[0][0].item_id == "3"
    assert best(client) == 3


def test_a_request_names_the_user_as_the_events_do(history_root):
    model = load_export(str(history_root / "1"))
    asked = ["007", 7, "7", "x", None]
    assert [recommendations.as_kept(model, user) for user in asked] == [7, 7, 7, "x", None]


def test_all_that_an_event_says_is_kept_and_a_search_is_no_history(client, server, stores):
    click = event("e1", timestamp=5, event="click", answer="a1", place=2, dwell=1.5, value=9.99, query="red shoes")
    search = {"event_id": "e2", "user_id": "007", "timestamp": 6, "event": "search", "query": "blue shoes"}
    assert client.post("/v1/events", json={"events": [click, search]}).json()["recorded"] == 2
    found = [Event("e1", "7", "2", 5, "click", "a1", 2, 1.5, 9.99, "red shoes"),
             Event("e2", "7", "", 6, "search", query="blue shoes")]
    assert stores.history.last(["7"], 9)[0] == found
    assert best(client) == 2
    request = struct_pb2.Struct()
    request.update({"events": [{**click, "event_id": "e3", "user_id": 8}]})
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        record = channel.unary_unary("/twotower.Events/Record")
        record(request.SerializeToString(), timeout=20)
    assert stores.history.last(["8"], 9)[0] == [found[0]._replace(event_id="e3", user_id="8")]


def test_only_post(client):
    assert client.get("/v1/events").status_code == 405


def test_a_store_that_fails_is_503_and_says_that_a_retry_is_safe(client, stores, monkeypatch):
    def fail(events):
        raise StoreError("The disk is full.")

    monkeypatch.setattr(stores.history, "append", fail)
    response = client.post("/v1/events", json={"events": [event("e")]})
    assert response.status_code == 503
    assert response.json()["error"] == "The disk is full. Send the same events again: an id counts once."


def test_old_events_are_removed_while_it_serves(history_root, tmp_path, monkeypatch):
    monkeypatch.setattr("tfrs_twotower.serving.server._TRIM_SECONDS", 0.02)
    address, old = f"sqlite:{tmp_path}/store.db", Event("e", "7", "2", 1)
    forever, month = open_stores(address), open_stores(address, Retention(seconds=2_592_000))
    now = int(time.time())
    forever.history.append([old, *(Event(f"new{n}", "8", "2", now) for n in range(2))])  # they vouch for the clock
    with Server(history_root, rest_port=0, grpc_port=0, stores=month):
        deadline = time.monotonic() + 30
        while forever.history.last(["7"], 1) == [[old]]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    forever.close()
    month.close()


def test_without_a_store_there_are_no_events(history_root):
    with Server(history_root, rest_port=0, grpc_port=0) as server:
        url = f"http://127.0.0.1:{server.rest_port}/v1/events"
        response = httpx.post(url, json={"events": [event("e")]})
        assert response.status_code == 501 and "--store" in response.json()["error"]


@pytest.fixture
def record(server):
    """The method as any client of gRPC would make it from the three lines of its proto."""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary(
            "/{}/{}".format(*METHODS["events"]),
            request_serializer=struct_pb2.Struct.SerializeToString,
            response_deserializer=struct_pb2.Struct.FromString,
        )

        def record(request):
            message = struct_pb2.Struct()
            message.update(request)
            return dict(call(message))

        yield record


def test_grpc_records_the_same(record, client):
    assert record({"events": [event("e1"), event("e2", timestamp=5.0)]}) == {"recorded": 2, "known": 0}
    assert record({"events": [event("e1")]}) == {"recorded": 0, "known": 1}
    assert best(client) == 2


@pytest.mark.parametrize(
    "body, code, message",
    [
        ({}, grpc.StatusCode.INVALID_ARGUMENT, "one key, 'events'"),
        ({"events": [event("e", user=1.5)]}, grpc.StatusCode.INVALID_ARGUMENT, "Received: a float"),
        ({"events": [event(str(n)) for n in range(4)]}, grpc.StatusCode.RESOURCE_EXHAUSTED, "at most 3 events"),
    ],
)
def test_grpc_refuses_the_same(record, body, code, message):
    with pytest.raises(grpc.RpcError) as raised:
        record(body)
    assert raised.value.code() is code and message in raised.value.details()
