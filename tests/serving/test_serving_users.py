"""Profiles and picks by REST and gRPC: checked against the model, kept before the answer, read by the next request."""

import dataclasses
from urllib.parse import quote

import grpc
import httpx
import pytest
from google.protobuf import json_format, struct_pb2

from tests.hostile_ids import HOSTILE
from tfrs_twotower.coldstart import InterestHistory
from tfrs_twotower.ids import is_missing_id
from tfrs_twotower.online import StoreError
from tfrs_twotower.serving import Server, users
from tfrs_twotower.serving.grpc_service import METHODS

WHOLE = {"age": 30, "city": "Łódź", "tags": ["a", "b"], "vector": [0.5, 1]}


@pytest.fixture
def server(history_root, stores):
    picking = dataclasses.replace(stores, history=InterestHistory(stores.history, stores.profiles), picks="interests")
    with Server(history_root, rest_port=0, grpc_port=0, stores=picking) as server:
        yield server


@pytest.fixture
def put(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}") as client:
        yield lambda body, user="7": client.put(f"/v1/users/{user}", json=body)


def kept(stores, user="7"):
    return stores.profiles.get([user])[0]


def test_a_profile_is_replaced_or_merged(put, stores):
    answer = put({"profile": WHOLE}, "007")
    assert (answer.status_code, answer.json()) == (200, {"user_id": "7", "columns": sorted(WHOLE)})
    assert kept(stores) == WHOLE
    assert put({"profile": {"age": 31, "city": None}, "merge": True}).json()["columns"] == ["age", "tags", "vector"]
    assert kept(stores) == {"age": 31, "tags": ["a", "b"], "vector": [0.5, 1]}
    put({"profile": {"city": "x", "age": None}})
    assert kept(stores) == {"city": "x"}
    put({"profile": {}})
    assert kept(stores) == {}


def test_picks_are_the_history_until_the_first_event(put, server, stores):
    url = f"http://127.0.0.1:{server.rest_port}/v1"

    def best():
        body = {"inputs": {"user_id": [7], "k": 1}}
        return httpx.post(f"{url}/models/twotower:predict", json=body).json()["outputs"]["ids"][0][0]

    assert best() == 4
    put({"profile": {"city": "x"}})
    assert put({"picks": [2, "02", 3], "merge": True}).json()["columns"] == ["city", "interests"]
    assert kept(stores) == {"city": "x", "interests": ["2", "3"]} and best() == 3
    httpx.post(f"{url}/events", json={"events": [{"event_id": "e", "user_id": 7, "item_id": 1}]})
    assert best() == 1


def test_grpc_puts_too(server, stores):
    request = struct_pb2.Struct()
    request.update({"user_id": 7, "profile": {"age": 30, "tags": ["a"]}})
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        answer = channel.unary_unary("/" + "/".join(METHODS["users"]))(request.SerializeToString(), timeout=20)
    assert json_format.MessageToDict(struct_pb2.Struct.FromString(answer))["columns"] == ["age", "tags"]
    assert kept(stores) == {"age": 30, "tags": ["a"]}


@pytest.mark.parametrize("body, status, message", [
    ({}, 400, "Give `profile`, `picks` or both"),
    ({"profil": {}}, 400, "A user has no `profil`. Did you mean `profile`?"),
    ({"profile": []}, 400, "`profile` must be an object"),
    ({"profile": {}, "merge": 1}, 400, "`merge` true or false"),
    ({"profile": {"user_id": 7}}, 400, "no column `user_id`"),
    ({"profile": {"history_item_id": [1]}}, 400, "no column `history_item_id`"),
    ({"profile": {"Age": 3}}, 400, "no column `Age` of a user. Did you mean `age`?"),
    ({"profile": {"age": "old"}}, 400, "`age` must be a finite number (float32). Received: age='old'"),
    ({"profile": {"age": 1e39}}, 400, "`age` must be a finite number"),
    ({"profile": {"city": 5}}, 400, "`city` must be text (string). Received: city=5"),
    ({"profile": {"tags": "a"}}, 400, "`tags` must be a list"),
    ({"profile": {"tags": ["a", 1]}}, 400, "each text"),
    ({"profile": {"vector": [1]}}, 400, "`vector` must be a list of 2 values, each a finite number"),
    ({"profile": {"interests": [1]}}, 400, "Send them as `picks`"),
    ({"picks": 1}, 400, "`picks` must be a list of item ids"),
    ({"picks": ["milk"]}, 400, "`picks` must be a whole number, as in the model"),
    ({"picks": [True]}, 400, "`picks` must be text or a whole number"),
    ({"picks": [1] * 1001}, 413, "at most 1000 items"),
    ({"profile": {"city": "x" * 70_000}}, 413, "at most 65536 bytes"),
    ({"user_id": 7, "profile": {}}, 400, "The path has the `user_id`"),
])
def test_what_is_wrong_is_refused_and_the_profile_stays(put, stores, body, status, message):
    stores.profiles.put({"7": {"city": "x"}})
    answer = put(body)
    assert answer.status_code == status and message in answer.json()["error"]
    assert kept(stores) == {"city": "x"}


def test_a_user_needs_an_id_of_the_models_type(put):
    for user in ("x/y", "x%0Ay"):
        assert "`user_id` must be a whole number" in put({"profile": {}}, user).json()["error"]


def test_every_id_that_an_event_may_have_can_be_put(shop_root, stores):
    with Server(shop_root, rest_port=0, grpc_port=0, stores=stores) as server:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}") as client:
            for user in (user for user in HOSTILE if not is_missing_id(user)):
                answer = client.put(f"/v1/users/{quote(user, safe='')}", json={"profile": {"mood": [1, 2]}})
                assert (answer.status_code, answer.json().get("user_id")) == (200, user)


def test_a_store_that_fails_is_503(put, stores, monkeypatch):
    def fail(profiles):
        raise StoreError("The disk is full.")

    monkeypatch.setattr(stores.profiles, "put", fail)
    assert put({"profile": {}}).status_code == 503


def test_without_a_store_or_a_column_there_is_no_place(history_root, stores):
    for given, body in ((None, {"profile": {}}), (stores, {"picks": [1]})):
        with Server(history_root, rest_port=0, grpc_port=0, stores=given) as server:
            answer = httpx.put(f"http://127.0.0.1:{server.rest_port}/v1/users/7", json=body)
        assert answer.status_code == 501 and "twotower serve --store" in answer.json()["error"]


def test_columns_are_those_of_a_query(history_root):
    with Server(history_root, rest_port=0, grpc_port=0) as server, server.repository.lease() as model:
        assert sorted(users.profile_columns(model)) == ["age", "city", "tags", "vector"]
