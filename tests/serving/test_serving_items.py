"""Items that come, change and go while a real export serves, over HTTP and gRPC: in every next answer, or in none."""

import shutil

import grpc
import httpx
import pytest
import tensorflow as tf
from google.protobuf import struct_pb2

from tfrs_twotower.errors import IndexingError
from tfrs_twotower.freshness import FreshItems, open_items
from tfrs_twotower.online import LruVectorCache
from tfrs_twotower.serving import Limits, Repository, Server, State
from tfrs_twotower.serving.grpc_service import METHODS

U1 = {"user_id": ["u1"], "history_item_id": [[]], "mood": [[0, 0]]}
START = {"c": 6, "b": 4, "a": 2, "f": 2, "d": 0, "e": 0}
CHANGE = {
    "changed": [{"item_id": "new", "price": 5, "tags": ["x"]}, {"item_id": "b", "price": 0.5}],
    "withdrawn": ["c", "e", "nobody"],
}
CHANGED = {"new": 10, "a": 2, "f": 2, "b": 1, "d": 0}


@pytest.fixture(scope="module")
def server(shop_root, tmp_path_factory):
    """With a cache of vectors; `test_serving_recommend` has a server without."""
    fresh, limits = FreshItems(tmp_path_factory.mktemp("items")), Limits(max_events=5)
    with Server(shop_root, rest_port=0, grpc_port=0, limits=limits, cache=LruVectorCache(9), fresh=fresh) as server:
        yield server
    fresh.close()


@pytest.fixture
def client(server):
    """The catalogue as it was exported, at first."""
    with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client:
        restore = [
            {"item_id": "b", "price": 2}, {"item_id": "c", "price": 3}, {"item_id": "e", "price": 0, "tags": ["x"]},
        ]
        assert client.post("/v1/items", json={"changed": restore, "withdrawn": ["new", "grpc"]}).status_code == 200
        yield client


def ask(client, signature="", **inputs):
    body = {"signature_name": signature, "inputs": {"k": 9, **inputs}}
    response = client.post("/v1/models/shop:predict", json=body)
    assert response.status_code == 200, response.text
    found = response.json()["outputs"]
    return {i: s for i, s in zip(found["ids"][0], found["scores"][0]) if i}


@pytest.mark.parametrize("signature, query", [
    ("", U1), ("recommend_exact", U1), ("recommend_by_vector", {"embedding": [[1, 0]]}), ("recommend_fresh", U1),
    ("recommend_fresh_by_vector", {"embedding": [[1, 0]]}),
])
def test_the_next_answer_has_it(client, signature, query):
    assert ask(client, signature, **query) == START
    response = client.post("/v1/items", json=CHANGE)
    assert (response.status_code, response.json()) == (200, {"changed": 2, "withdrawn": 3})
    assert ask(client, signature, **query) == CHANGED
    assert ask(client, signature, **query, exclude_ids=[["new", "a"]]) == {"f": 2, "b": 1, "d": 0}
    assert ask(client, signature, **query, allow_ids=[["c", "b", "new"]]) == {"new": 10, "b": 1}
    first = ask(client, signature, **{**query, "k": 2})
    assert list(first) == ["new", "a"]


def test_similar_items(client):
    before = {"b": 6, "a": 3, "f": 3, "d": 0, "e": 0}
    assert ask(client, "similar_items", item_id=["c"]) == before
    client.post("/v1/items", json=CHANGE)
    assert ask(client, "similar_items", item_id=["a"]) == {"new": 5, "f": 1, "b": 0.5, "d": 0}
    assert ask(client, "similar_items", item_id=["new"]) == {"f": 6, "a": 5, "b": 2.5, "d": 2}
    assert ask(client, "similar_items", item_id=["new"], k=1) == {"f": 6}
    assert ask(client, "similar_items", item_id=["nobody"]) == {}


def test_a_withdrawn_item_scores_as_an_unknown_one(client):
    client.post("/v1/items", json=CHANGE)
    body = {"signature_name": "score_pairs", "inputs": {**U1, "candidate_ids": [["a", "c", "nobody"]]}}
    scores = client.post("/v1/models/shop:predict", json=body).json()["outputs"][0]
    assert scores == pytest.approx([2, tf.float32.min, tf.float32.min])


REFUSED = [
    (b'{"changed": [{"item_id": "a", "category": "\\ud800"}]}', 400, "surrogates not allowed"),
    ({}, 400, "holds no items"),
    ({"changed": [], "withdrawn": []}, 400, "holds no items"),
    ({"changed": {}}, 400, "two lists"),
    ({"removed": ["a"]}, 400, "two lists"),
    ({"withdrawn": ["a"], "changed": [{"price": 1}]}, 400, "`changed[0]` must be an object with `item_id`"),
    ({"withdrawn": ["a"], "changed": [{"item_id": "new", "price": "dear"}]}, 400, "`price` must be float32"),
    ({"changed": [{"item_id": "a", "category": 7}]}, 400, "Item 'a': `category` must be string, or null"),
    ({"changed": [{"item_id": "a", "category": ["milk"]}]}, 400, "`category` must be string, or null"),
    ({"changed": [{"item_id": "a", "prise": 1}]}, 400, "`prise` of items. Did you mean `price`?"),
    ({"changed": [{"item_id": "a", "kategory": "milk"}]}, 400, "Did you mean `category`?"),
    ({"withdrawn": ["a", 7]}, 400, "`withdrawn[1]` must be text"),
    (b'{"changed": [{"item_id": "a", "tags": %s1%s}]}' % (b"[" * 450, b"]" * 450), 400, "deeper than 32 lists"),
    ({"withdrawn": ["a"], "changed": [{"item_id": "a"}]}, 400, "changed or withdrawn, not both"),
    ({"withdrawn": [str(n) for n in range(6)]}, 413, "at most 5"),
    (["a"], 400, "must be a JSON object"),
]


@pytest.mark.parametrize("body, status, message", REFUSED)
def test_what_is_wrong_is_refused_whole(client, body, status, message):
    response = client.post("/v1/items", **({"content": body} if isinstance(body, bytes) else {"json": body}))
    assert response.status_code == status and message in response.json()["error"]
    assert ask(client, **U1) == START


def test_changes_in_a_request_are_refused(client):
    body = {"signature_name": "recommend_fresh", "inputs": {**U1, "withdrawn_ids": ["a"]}}
    response = client.post("/v1/models/shop:predict", json=body)
    assert response.status_code == 400 and "Leave ['withdrawn_ids'] out" in response.json()["error"]


def test_a_full_disk_is_503(server, client):
    kept = server.repository._fresh._events._file
    large = {"changed": [{"item_id": "a", "price": 9}, {"item_id": "large", "price": 8, "tags": ["x" * 9999]}]}
    with kept.transaction() as connection:  # as a full disk: SQLite may not make the file any larger
        connection.execute("PRAGMA max_page_count = 1")
    response = client.post("/v1/items", json=large)
    with kept.transaction() as connection:
        connection.execute("PRAGMA max_page_count = 100000")
    assert response.status_code == 503, response.text
    assert "full. Send the same items again" in response.json()["error"]
    assert ask(client, **U1) == START
    assert client.post("/v1/items", json=large).status_code == 200
    client.post("/v1/items", json={"changed": [{"item_id": "a", "price": 1}], "withdrawn": ["large"]})
    assert ask(client, **U1) == START


def test_the_same_over_grpc(server, client):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        change = channel.unary_unary(
            "/{}/{}".format(*METHODS["items"]), request_serializer=struct_pb2.Struct.SerializeToString,
            response_deserializer=struct_pb2.Struct.FromString,
        )
        request = struct_pb2.Struct()
        request.update({"changed": [{"item_id": "grpc", "price": 4}], "withdrawn": ["a"]})
        assert dict(change(request)) == {"changed": 1, "withdrawn": 1}
        assert ask(client, **U1) == {"grpc": 8, "c": 6, "b": 4, "f": 2, "d": 0, "e": 0}
        client.post("/v1/items", json={"changed": [{"item_id": "a", "price": 1}]})
        misspelt = struct_pb2.Struct()
        misspelt.update({"changed": [{"item_id": "a", "prise": 1}]})
        for wrong, message in ((struct_pb2.Struct(), "holds no items"), (misspelt, "Did you mean `price`?")):
            with pytest.raises(grpc.RpcError) as error:
                change(wrong)
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT and message in error.value.details()


def test_without_a_folder_no_items_are_taken_in(publish, tmp_path):
    publish(tmp_path, 3)
    with Server(tmp_path, rest_port=0, grpc_port=0) as server:
        response = httpx.post(f"http://127.0.0.1:{server.rest_port}/v1/items", json={"withdrawn": ["a"]})
        assert response.status_code == 501 and "--items-log" in response.json()["error"]


def test_a_version_that_cannot_follow_is_refused_and_one_that_can_is_attached_and_detached(
    shop_root, publish, tmp_path
):
    class Noting:
        """`ItemChanges` that follow nothing."""

        attached, detached = [], []

        def attach(self, model):
            if model.catalogue is None:
                raise IndexingError("It has no catalogue.")
            self.attached.append(model.version)

        def detach(self, model):
            self.detached.append(model.version)

    (tmp_path / "1").symlink_to(shop_root / "1")
    repository = Repository(tmp_path, fresh=Noting())
    repository.poll()
    publish(tmp_path, 2)
    repository.poll()
    assert repository.available() == [1] and repository.statuses()[1].error == "It has no catalogue."
    assert repository.statuses()[1].state is State.END and Noting.attached == [1] and Noting.detached == []
    with repository.lease():
        repository.close()
        assert Noting.detached == []
    repository._collect()
    assert Noting.detached == [1]


def test_a_folder_is_opened_for_the_ids_of_the_newest_version(shop_root, history_root, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(history_root / "1", damaged / "1")
    (damaged / "2").mkdir()
    (damaged / "2" / "saved_model.pb").write_bytes((damaged / "1" / "saved_model.pb").read_bytes()[:1000])
    for root, kind in ((shop_root, str), (history_root, int), (damaged, int)):
        items = open_items(tmp_path / kind.__name__, root)
        assert items.id_type is kind
        items.close()
    with pytest.raises(IndexingError, match="`root` must hold a version"):
        open_items(tmp_path / "none", tmp_path)
