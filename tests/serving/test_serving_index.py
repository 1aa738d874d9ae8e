"""A server that searches by an index outside of the SavedModel: of one's own, which never finds item "c", and Faiss."""

import sys

import own_index
import pytest
import tensorflow as tf

from tfrs_twotower import extras
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.freshness import FreshItems
from tfrs_twotower.online import LruVectorCache
from tfrs_twotower.serving import Server, outside_index

U1 = {"user_id": ["u1"], "history_item_id": [[]], "mood": [[0, 0]]}
TYPES = {"k": tf.int32, "mood": tf.float32, "embedding": tf.float32, "popularity_beta": tf.float32}
BY_VECTOR = {"embedding": [[1, 0]]}


@pytest.fixture(scope="module")
def server(shop_root, tmp_path_factory):
    fresh = FreshItems(tmp_path_factory.mktemp("items"))
    options = {"rest_port": 0, "grpc_port": 0, "fresh": fresh, "cache": LruVectorCache(9)}
    with Server(shop_root, index="own_index.Blind", **options) as server:
        yield server
    fresh.close()


def ask(server, signature="", **inputs):
    typed = {name: tf.constant(value, TYPES.get(name, tf.string)) for name, value in inputs.items()}
    found = server.predictor.predict(signature, typed)
    ids = [item.decode() for item in found["ids"][0]]
    return {i: s for i, s in zip(ids, found["scores"][0].tolist()) if i}


@pytest.mark.parametrize("signature, query", [
    ("", U1), ("recommend_fresh", U1), ("recommend_by_vector", BY_VECTOR), ("recommend_fresh_by_vector", BY_VECTOR),
])
def test_answers_are_what_the_index_finds(server, signature, query):
    assert ask(server, signature, **query, k=2) == {"b": 4, "a": 2}
    assert list(ask(server, signature, **query, k=2, exclude_ids=[["b", "nobody"]])) == ["a", "f"]


def test_the_graph_searches_where_the_index_cannot(server):
    assert ask(server, "recommend_exact", **U1, k=2) == {"c": 6, "b": 4}
    assert ask(server, **U1, k=1, allow_ids=[["c", "a"]]) == {"c": 6}
    assert list(ask(server, **U1, k=1, popularity_beta=0.001)) == ["c"]
    assert list(ask(server, **U1, k=6)) == list("cbafde")


def test_what_another_engine_found_is_scored_and_filtered(server):
    found = {**BY_VECTOR, "found_ids": [["e", "c", "nobody", "c", "a"]]}
    assert ask(server, "recommend_found_by_vector", **found, k=3) == {"c": 6, "a": 2, "e": 0}
    assert ask(server, "recommend_found_by_vector", **found, k=1, exclude_ids=[["c"]]) == {"a": 2}


def test_items_that_change(server):
    fresh = server.repository._fresh
    fresh.record([{"item_id": "new", "price": 5, "tags": ["x"]}, {"item_id": "b", "price": 0.5}], ["a"])
    assert ask(server, **U1, k=3) == {"new": 10, "f": 2, "b": 1}
    fresh.record([{"item_id": "b", "price": 2}, {"item_id": "a", "price": 1, "tags": []}], ["new"])
    assert ask(server, **U1, k=3) == {"b": 4, "a": 2, "f": 2}


def test_an_index_that_fails(server, monkeypatch, caplog):
    monkeypatch.setattr(own_index.BlindIndex, "broken", True)
    for _ in range(2):
        assert ask(server, **U1, k=2) == {"c": 6, "b": 4}
    assert caplog.text.count("The index fails, and exact search takes its place: no answer") == 1


def test_faiss(shop_root):
    if not extras.available("faiss"):
        pytest.skip("faiss is not installed")
    with Server(shop_root, rest_port=0, grpc_port=0, index="faiss_hnsw") as server:
        assert ask(server, **U1, k=2) == {"c": 6, "b": 4}


def test_what_is_no_index_outside(shop_root):
    with pytest.raises(ConfigError, match="searched outside of a SavedModel"):
        Server(shop_root, index="ivf")


@pytest.mark.parametrize("brought", [
    {"type": "this.Kind"}, {"type": "MilvusKind", "address": "http://elsewhere:19530"}, {"type": "MLP"},
])
def test_an_export_makes_a_server_import_nothing_and_ask_nobody(brought):
    with pytest.raises(ConfigError, match="The export's index is"):
        outside_index.opened("", {"index_kind": brought}, None, 1.0, None)
    assert "this" not in sys.modules
