"""Questions to strangers, their answers, and mixes of objectives, over HTTP and gRPC; by hand: see `shop_export`."""

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf import struct_pb2

from tests.serving import shop_export
from tfrs_twotower.exporting.people import People
from tfrs_twotower.online import LruVectorCache
from tfrs_twotower.serving import Limits, Server
from tfrs_twotower.serving.grpc_service import METHODS

# Half of the people like price, half like tags; buyers look at tags twice as much, and clicks ignore the price.
PEOPLE = People(np.array([[1, 0], [0, 1]], np.float32), 10.0)
HEADS, OBJECTIVES = np.array([[0, 2], [-1, 0]], np.float32), ("buy", "click")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("elicitation")
    shop_export.write(root, 1, HEADS, OBJECTIVES, PEOPLE)
    return root


@pytest.fixture(scope="module")
def server(root):
    with Server(root, rest_port=0, grpc_port=0, limits=Limits(max_k=6, max_width=8)) as server:
        yield server


@pytest.fixture
def client(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client:
        yield client


def test_questions_adapt_to_answers(server, client):
    items = client.get("/v1/elicit").raise_for_status().json()["items"]
    # b, c and d are asked first: they divide people by price and tags; a and e less, f not at all.
    assert [item["item_id"] for item in items][0] in "bcd" and items[0]["information"] > 0
    many = [item["item_id"] for item in client.get("/v1/elicit", params={"n": 6}).json()["items"]]
    assert sorted(many) == [*"abcdef"]
    request = {"likes": ["d"], "dislikes": ["c"], "asked": ["b", "unknown"], "n": 6}
    posted = client.post("/v1/elicit", json=request).raise_for_status().json()
    assert sorted(item["item_id"] for item in posted["items"]) == [*"aef"]
    assert posted["unknown"] == {"asked": ["unknown"]} and "unknown" not in client.get("/v1/elicit").json()
    assert posted == client.get("/v1/elicit", params=request).json()
    described = client.get("/openapi.json").json()["paths"]["/v1/elicit"]
    assert {*described} == {"get", "post"} and {*request} <= {p["name"] for p in described["get"]["parameters"]}
    assert max(item["information"] for item in posted["items"]) < items[0]["information"]  # less is in doubt
    struct = struct_pb2.Struct()
    struct.update(request)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        answer = channel.unary_unary("/{}/{}".format(*METHODS["elicit"]))(struct.SerializeToString(), timeout=60)
    assert [dict(item) for item in struct_pb2.Struct.FromString(answer)["items"]] == posted["items"]
    only = client.post("/v1/elicit", json={"n": 6, "allow": {"category": "fruit"}}).json()["items"]
    assert sorted(item["item_id"] for item in only) == ["a", "b"]


def test_answers_give_recommendations(client):
    def best(**answers):
        found = client.post("/v1/recommend", json={"k": 2, **answers}).raise_for_status().json()["items"]
        assert {item["channel"] for item in found} == {"u2i"}
        return [item["item_id"] for item in found]

    assert best(likes=["b", "a"])[0] == "c"  # dear things
    assert best(likes=["e"], dislikes=["b", "a"])[0] == "d"  # many tags
    assert best(dislikes=["d", "e"]) == ["c", "b"]


def test_a_mix_of_objectives_is_the_weighted_sum_by_hand(root, client):
    def scores(client=client, **more):
        request = {"user_id": "u1", "k": 6, "features": {"mood": [1, 1], "history_item_id": []}, **more}
        found = client.post("/v1/recommend", json=request).raise_for_status().json()["items"]
        return {item["item_id"]: item["score"] for item in found}

    u, v = np.array([2.0, 1.0]), dict(zip("abcdef", shop_export.VECTORS))
    plain = {item: 2 * u @ vector for item, vector in v.items()}
    assert scores() == scores(objectives={}) == scores(objectives={"buy": 0}) == pytest.approx(plain)
    buy, click = ({item: 2 * (u * head) @ vector for item, vector in v.items()} for head in HEADS)
    mixed, weights = {i: plain[i] + 1.5 * buy[i] + 0.5 * click[i] for i in v}, {"buy": 1.5, "click": 0.5}
    assert scores(objectives=weights) == pytest.approx(mixed)
    inputs = {"user_id": ["u1"], "mood": [[1, 1]], "history_item_id": [[]], "k": 6, "objectives": [[1.5, 0.5]]}
    for signature in ("serving_default", "recommend_exact", "recommend_fresh"):
        found = client.post("/v1/models/shop:predict", json={"inputs": inputs, "signature_name": signature})
        found = found.raise_for_status().json()["outputs"]
        assert dict(zip(found["ids"][0], found["scores"][0])) == pytest.approx(mixed)
    answered = {"k": 1, "dislikes": ["d"], "objectives": {"buy": 20}}
    assert client.post("/v1/recommend", json=answered).json()["items"][0]["item_id"] == "f"  # tags count 41 times
    with Server(root, rest_port=0, grpc_port=0, cache=LruVectorCache(9)) as cached:
        with httpx.Client(base_url=f"http://127.0.0.1:{cached.rest_port}", timeout=60) as client:
            for _ in range(2):  # a vector of one mix is not taken for another
                assert scores(client) == pytest.approx(plain)
                assert scores(client, objectives=weights) == pytest.approx(mixed)


def test_a_mix_of_objectives_is_explained_as_it_was_scored(client):
    """Of the query (2, 1), weighted (1, 21): d is (0, 2), and without the mood, (1, 0), it has nothing."""
    request = {"user_id": "u1", "k": 1, "features": {"mood": [1, 1], "history_item_id": ["a"]}, "explain": True}
    found = client.post("/v1/recommend", json={**request, "objectives": {"buy": 10}}).raise_for_status().json()
    item, = found["items"]
    why = item["explanation"]
    assert (item["item_id"], item["score"], why["score"]) == ("d", 84, 84)
    average = 2 * np.array([2, 21]) @ shop_export.VECTORS.mean(axis=0)
    assert why["base"] == pytest.approx(average, abs=1e-4)
    assert why["without"]["place"] == 1  # the searches have the mix too: without it, c would be first


@pytest.mark.parametrize("path, request_, words", [
    ("elicit", {"n": 7}, "`n` must be a whole number from 1 to 6"),
    ("elicit", {"n": "x"}, "`n` must be"),
    ("elicit", {"likes": "a"}, "`likes` must be a list of item ids"),
    ("elicit", {"allow": []}, "`allow` must be an object"),
    ("elicit", {"liked": []}, "Did you mean `likes`"),
    ("elicit", {"asked": list("abcdefghi")}, "at most 8 values"),
    ("recommend", {"k": 1, "likes": [1.5]}, "`likes` must be a list of item ids"),
    ("recommend", {"k": 1, "objectives": {"bye": 1}, "likes": ["a"]}, "mean `buy`"),
    ("recommend", {"k": 1, "objectives": {"buy": "much"}}, "`objectives.buy` must be a number"),
])
def test_wrong_requests_are_refused(client, path, request_, words):
    found = client.post(f"/v1/{path}", json=request_)
    assert found.status_code == (413 if "at most" in words else 400) and words in found.json()["error"]


def test_an_export_without_people_says_so(shop_root):
    with Server(shop_root, rest_port=0, grpc_port=0) as server:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client:
            for path, request in (("elicit", {}), ("recommend", {"likes": ["a"]})):
                found = client.post(f"/v1/{path}", json=request)
                assert found.status_code == 501 and "Export it again" in found.json()["error"]
            found = client.get("/v1/elicit", params={"n": "x"})
            assert found.status_code == 400 and "`n` must be a whole number" in found.json()["error"]
