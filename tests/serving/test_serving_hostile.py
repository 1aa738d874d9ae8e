"""Each field of each request, in turn, with what a hostile client may send; over REST and gRPC. All parts are on."""

import argparse
import contextlib
import copy
import json

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf import struct_pb2

from tests.serving import shop_export
from tfrs_twotower.cli import exploring
from tfrs_twotower.coldstart import InterestHistory
from tfrs_twotower.experiments import Arm, Arms
from tfrs_twotower.exporting.people import People
from tfrs_twotower.freshness import FreshItems
from tfrs_twotower.online import AnswerLog, Stores, new_answer_id, open_stores, read_seen
from tfrs_twotower.serving import Server
from tfrs_twotower.serving.grpc_service import METHODS

HUGE = 10**400  # no float holds it
NASTY = [
    None, True, -1, 0.5, HUGE, -HUGE, 2**63, 1e308, float("nan"), float("inf"), "", "\0", "\ud800", "né\u202e人",
    "-1", "NaN", "x" * 10**6, "9" * 5000, [], [[]], [None], [HUGE], [float("nan")], ["x" * 10**5] * 9,
    list(range(3000)), [0] * 3000, {}, {"": None}, {"min": HUGE, "max": float("nan")}, {"x" * 10**5: 1},
    {"u2i": HUGE}, {"buy": float("inf")},
]
REFUSED = ("INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED")
ANSWER = new_answer_id(1e9)
BODIES = {
    "events": {"events": [{
        "event_id": "e", "user_id": "u1", "item_id": "a", "timestamp": 5, "event": "click", "answer": ANSWER,
        "place": 1, "dwell": 2.5, "value": 9, "query": "red"}]},
    "impressions": {"impressions": [{"answer_id": ANSWER, "places": [0], "dropped": [1], "timestamp": 5}]},
    "users": {"user_id": "u1", "profile": {"mood": [0, 1]}, "picks": ["a"], "merge": True},
    "elicit": {"n": 2, "likes": ["a"], "dislikes": ["b"], "asked": ["c"], "allow": {"price": {"min": 1}},
               "deny": {"tags": ["x"]}},
    "items": {"changed": [{"item_id": "n", "price": 1.0, "tags": ["x"], "category": "milk"}], "withdrawn": ["zz"]},
    "recommend": {
        "user_id": "u1", "k": 3, "features": {"mood": [0, 1], "history_item_id": ["a"]}, "exclude_seen": False,
        "exclude_ids": ["b"], "allow": {"price": {"min": 0}}, "deny": {"tags": ["q"]}, "popularity_beta": 0.1,
        "channels": {"popular": 1, "fresh": 1}, "objectives": {"buy": 1}, "diversity": 0.1, "fields": ["price"],
        "version": 1, "explain": True},
}


def places(body, at=()):
    """The paths to all values of a body, but the body itself."""
    inside = enumerate(body) if isinstance(body, list) else body.items() if isinstance(body, dict) else ()
    for key, value in inside:
        yield (*at, key)
        yield from places(value, (*at, key))


def changed(body, path, value):
    body = copy.deepcopy(body)
    inner = body
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return body


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root, folder = tmp_path_factory.mktemp("shop"), tmp_path_factory.mktemp("kept")
    shop_export.write(root, 1, np.ones([2, 2], np.float32), ("buy", "click"), People(np.eye(2, dtype=np.float32), 10.0))
    parser = argparse.ArgumentParser()
    exploring.add_arguments(parser)
    with contextlib.ExitStack() as opened:
        plain = open_stores(f"sqlite:{folder}/store.db")
        stores = Stores(InterestHistory(plain.history, plain.profiles), plain.profiles, plain.retention, "interests")
        fresh = opened.enter_context(contextlib.closing(FreshItems(folder / "items")))
        args = parser.parse_args(["--explore", f"{folder}/new.db", "--explore-kinds", "click"])
        stores, fresh, channels, others = exploring.explored(args, stores, fresh)
        for one in (stores, *others):
            opened.callback(one.close)
        log = opened.enter_context(contextlib.closing(AnswerLog(folder / "log")))
        arms = Arms((Arm("a", 0.5), Arm("b", 0.5, popularity_beta=0.3), Arm("c", 1.0, shadow=True)), "s")
        yield opened.enter_context(Server(root, rest_port=0, grpc_port=0, stores=stores, fresh=fresh, channels=channels,
                                          answer_log=log, arms=arms)), log


@pytest.mark.parametrize("name", BODIES)
def test_any_field_of_any_request_may_be_anything(server, name, caplog):
    served, _ = server
    url, body = f"http://127.0.0.1:{served.rest_port}", BODIES[name]
    paths = [*places(body)]
    with httpx.Client(base_url=url, timeout=60) as client, grpc.insecure_channel(
            f"127.0.0.1:{served.grpc_port}") as channel:
        call = channel.unary_unary("/{}/{}".format(*METHODS[name]))

        def post(asked):
            if name != "users":
                return client.post(f"/v1/{name}", content=json.dumps(asked))
            return client.put(f"/v1/users/{asked['user_id']}" if isinstance(asked["user_id"], str) else "/v1/users/u1",
                              content=json.dumps({key: value for key, value in asked.items() if key != "user_id"}))

        good = post(body)
        assert good.status_code == 200, good.text
        for path in paths:
            for value in NASTY:
                asked = changed(body, path, value)
                try:
                    answer = post(asked)
                except (httpx.InvalidURL, UnicodeEncodeError):  # no client can send it in a path
                    continue
                said = (path, repr(value)[:40], answer.text[:300])
                assert answer.status_code in (200, 400, 404, 413, 414, 431), said
                assert answer.status_code == 200 or 3 < len(answer.json()["error"]) < 2000, said
                struct = struct_pb2.Struct()
                with contextlib.suppress(ValueError, OverflowError, TypeError, UnicodeEncodeError):
                    struct.update(asked)
                    try:
                        call(struct.SerializeToString(), timeout=60)
                    except grpc.RpcError as error:
                        assert error.code().name in REFUSED, (said, error)
        assert post(body).status_code == 200
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


def test_what_was_kept_of_it_can_be_read(server):
    served, log = server
    assert {row["answer_id"] for row in read_seen(log.folder).to_pylist()} <= {ANSWER}
