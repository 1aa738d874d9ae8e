"""A request with no more than a user id, and what the server joins to it."""

import dataclasses
import logging
import math

import httpx
import numpy as np
import pytest
import tensorflow as tf

from tests.serving import history_export, toy_export
from tfrs_twotower.online import Event, StoreError
from tfrs_twotower.serving import InvalidArgument, Predictor, Repository, Server
from tfrs_twotower.serving.features import Features, _histories, column
from tfrs_twotower.serving.metrics import Metrics
from tfrs_twotower.serving.signature import Signature

NOW = 1_700_000_000.5


def event(event_id, user, item, timestamp, kind="view"):
    return Event(str(event_id), str(user), str(item), timestamp, kind)


@pytest.fixture(scope="module")
def repository(history_root):
    repository = Repository(history_root)
    repository.poll()
    yield repository
    repository.close()


@pytest.fixture
def ask(repository, stores):
    """ask(inputs, signature="echo", **settings of Features): the arrays that the model answers."""

    def ask(inputs, signature="echo", **settings):
        features = Features(stores, Metrics(), clock=lambda: NOW, **settings)
        return Predictor(repository, features=features).predict(signature, inputs)

    return ask


def test_a_user_id_brings_profile_and_history(ask, stores):
    stores.history.append([event(n, 7, item, n) for n, item in enumerate([1, 2, 2, 4], 1)])
    stores.profiles.put({"7": {"age": 30, "city": "Łódź", "tags": ["a", "b"], "vector": [0.5, 1], "unused": 1}})
    got = ask({"user_id": [7, 8]})
    assert got["got_user_id"].tolist() == [7, 8]
    assert got["got_history_item_id"].tolist() == [[2, 2, 4], [-1, -1, -1]]  # the model reads 3 events
    assert got["got_history_timestamp"].tolist() == [[2, 3, 4], [-1, -1, -1]]
    assert got["got_timestamp"].tolist() == [int(NOW)] * 2
    assert got["got_age"][0] == 30 and math.isnan(got["got_age"][1])
    assert got["got_city"].tolist() == ["Łódź".encode(), b""]
    assert got["got_tags"].tolist() == [[b"a", b"b"], [b"", b""]]
    assert got["got_vector"].tolist() == [[0.5, 1], [0, 0]]
    assert ask({"user_id": [7, 8]}, "")["ids"].tolist() == [[2, 4], [4, 3]]  # 2.2 and 1.4; 0.4 and 0.3


def test_users_without_a_history_get_the_beta_of_cold_ones(repository, stores):
    stores.history.append([event(1, 7, 1, 5)])
    features = Features(stores, Metrics(), cold_beta=-1.5)
    with repository.lease() as model:
        def beta(signature="", **request):
            request = {"user_id": np.array([7, 8]), **request}
            return features.join(model, model.signature(signature), request).get("popularity_beta")

        assert beta().tolist() == [0, -1.5]
        assert beta(history_item_id=np.array([[-1], [3]])).tolist() == [-1.5, 0]
        assert beta(popularity_beta=np.float32(0.25)) == 0.25  # the request's own stays
        assert beta("embed_query") is None
        features = Features(stores, Metrics())
        assert beta() is None


def test_what_was_seen_is_left_out_where_the_evaluation_left_it_out(stores, tmp_path):
    history_export.write(tmp_path, 1, exclude_seen=True, histories={"history": {"kinds": ["view"], "events": 3}})
    # The model reads the newest three events of views; item 1 is older, item 3 of another type.
    stores.history.append([event(n, 7, item, n) for n, item in enumerate([1, 2, 2, 2], 1)])
    stores.history.append([event(5, 7, 3, 5, "buy")])
    repository = Repository(tmp_path)
    repository.poll()

    def left(features=Features(stores, Metrics()), **request):
        found = Predictor(repository, features=features).predict("", {"k": np.int32(4), **request})
        return [[i for i, s in zip(*row) if s > tf.float32.min] for row in zip(found["ids"].tolist(), found["scores"])]

    assert left(user_id=[7, 8]) == [[4], [4, 3, 2, 1]]
    assert left(user_id=[7], history_item_id=[[4]]) == [[]]  # what the request says he took, and what the store keeps
    assert left(user_id=[7, 8], exclude_ids=np.zeros([1, 0], np.int64)) == [[2, 4, 3, 1], [4, 3, 2, 1]]
    assert left(user_id=[7], exclude_ids=[[1]]) == [[2, 4, 3]]  # the request says it all
    echo = Predictor(repository, features=Features(stores, Metrics())).predict("echo", {"user_id": [7]})
    whole = {name.removeprefix("got_"): column for name, column in echo.items()}
    whole["history_item_id"] = np.array([[4, 2, -1]])
    assert left(None, **whole) == [[3, 1]]  # without a store, the request's own history counts
    repository.close()


def test_an_unknown_user_and_none_at_all_are_served(ask):
    assert ask({"user_id": [7, -1]}, "")["ids"].tolist() == [[4, 3], [4, 3]]
    with pytest.raises(InvalidArgument, match="`user_id` must have at least one row"):
        ask({"user_id": np.zeros(0, np.int64)}, "")


def test_what_the_request_carries_stays(ask, stores):
    stores.history.append([event(1, 7, 1, 5)])
    stores.profiles.put({"7": {"age": 30, "city": "Łódź"}})
    got = ask({
        "user_id": [7], "age": np.array([1.5], np.float32), "timestamp": [99], "history_item_id": [[3, 4]],
        "history_timestamp": [[1, 2]],
    })
    assert got["got_age"] == [1.5] and got["got_timestamp"] == [99] and got["got_city"].tolist() == ["Łódź".encode()]
    assert got["got_history_item_id"].tolist() == [[3, 4]] and got["got_history_timestamp"].tolist() == [[1, 2]]
    got = ask({"user_id": [7], "history_item_id": np.zeros([1, 0], np.int64)})  # an empty past is one too
    assert got["got_history_item_id"].shape == got["got_history_timestamp"].shape == (1, 0)
    got = ask({"user_id": [7], "history_item_id": [[3, 4]]})
    assert got["got_history_timestamp"].tolist() == [[-1, -1]]


def test_the_manifest_chooses_the_kinds_of_a_history(repository, stores):
    stores.history.append([event(1, 7, 1, 1, "buy"), event(2, 7, 2, 2), event(3, 7, 3, 3, "buy")])
    with repository.lease() as model:
        buys = dataclasses.replace(model, manifest={"histories": {"history": {"kinds": ["buy"], "events": 9}}})
        request = {"user_id": np.array([7])}
        joined = Features(stores, Metrics()).join(buys, buys.signature("echo"), request)
    assert joined["history_item_id"].tolist() == [[1, 3]]


def test_what_does_not_fit_the_model_is_missing(ask, stores):
    stores.history.append([event(1, 7, "a text", 1), event(2, 7, 2, 2), event(3, 7, 2**63, 3)])
    stores.profiles.put({"7": {"age": "thirty", "city": 5, "tags": "a", "vector": [1.0]}})
    got = ask({"user_id": [7]})
    assert got["got_history_item_id"].tolist() == [[2]] and got["got_history_timestamp"].tolist() == [[2]]
    assert math.isnan(got["got_age"][0]) and got["got_city"].tolist() == [b""]
    assert got["got_tags"].shape == (1, 0) and got["got_vector"].tolist() == [[0, 0]]
    whole = column(["1_0", "010", 3.5, 4.0, True, None], tf.TensorSpec([None], tf.int64))
    assert whole.tolist() == [-1, 10, -1, 4, 1, -1]


def test_without_a_user_id_a_request_is_what_it_was(ask):
    with pytest.raises(InvalidArgument, match=r"needs the inputs \['user_id'\]"):
        ask({"k": np.int32(1)}, "")
    with pytest.raises(InvalidArgument, match=r"as many rows"):
        ask({"user_id": [7, 8], "age": np.zeros(1, np.float32)})


def test_without_a_store_the_way_to_one_is_named(repository):
    with pytest.raises(InvalidArgument, match=r"needs the inputs .*'history_item_id'.*twotower serve --store"):
        Predictor(repository).predict("", {"user_id": np.array([7])})
    with pytest.raises(InvalidArgument, match=r"Received: \[\]\.$"):
        Predictor(repository).predict("", {"k": np.int32(1)})
    reads_no_user = Signature("serving_default", {"history_item_id": tf.TensorSpec([None, None])}, {}, {}, None)
    with pytest.raises(InvalidArgument, match="no input `user_id`. The model does not read it; .*serve --store"):
        reads_no_user.spec("user_id")


def test_signatures_that_read_no_query_are_left_alone(ask):
    got = ask({"embedding": np.array([[0, 3, 1, 2]], np.float32)}, "recommend_by_vector")
    assert got["ids"].tolist() == [[2, 4]]
    with pytest.raises(InvalidArgument, match="`embedding` must be finite"):
        ask({"embedding": np.array([[0, 3, 1, np.nan]], np.float32)}, "recommend_by_vector")


def test_a_store_that_fails_leaves_users_unknown_and_is_counted(repository, caplog):
    class Broken:
        """A store whose disk is gone."""

        def last(self, *_):
            raise StoreError("the disk is gone")

        get = items = last

    class Stores:
        history = profiles = Broken()

    metrics = Metrics()
    predictor = Predictor(repository, features=Features(Stores(), metrics))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert predictor.predict("", {"user_id": [7]})["ids"].tolist() == [[4, 3]]
    assert caplog.text.count("the disk is gone") == 1
    assert b'twotower_store_failures_total{what="read"} 6.0' in metrics.text()[0]


def test_a_model_that_does_not_read_the_user_id_gets_the_history(tmp_path, stores):
    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, "history_item_id")])
        def recommend(self, history_item_id):
            return {"ids": tf.identity(history_item_id)}

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "exports" / "1"), {"serving_default": model.recommend})
    toy_export.write_manifest(tmp_path / "exports" / "1")
    stores.history.append([event(1, "u", "a", 1), event(2, "u", "b", 2)])
    with Server(tmp_path / "exports", rest_port=0, grpc_port=0, stores=stores) as server:
        predict = f"http://127.0.0.1:{server.rest_port}/v1/models/twotower:predict"
        assert httpx.post(predict, json={"instances": ["u"]}).json() == {"predictions": [["a", "b"]]}
        body = {"inputs": {"history_item_id": [["c"]]}}  # as before there was a store
        assert httpx.post(predict, json=body).json() == {"outputs": [["c"]]}


def test_the_length_of_the_history_is_the_manifests(repository):
    def length(**manifest):
        with repository.lease() as model:
            return dataclasses.replace(model, manifest=manifest).history_length

    assert length(schema=history_export.SCHEMA) == 3
    assert length(schema={**history_export.SCHEMA, "query": [{"type": "Id", "column": "user_id"}]}) == 1
    assert length() == length(schema={"type": "Unheard"}) == 50
    assert length(schema=history_export.SCHEMA, history_events=500) == 500  # what stands beside the towers reads more


def test_a_history_of_numbers_is_read_as_each_of_its_ids_would_be():
    """All at once where all are short numbers; one by one, with the same result, where one is not."""
    spec = {"item_id": tf.TensorSpec([None, None], tf.int64), "timestamp": tf.TensorSpec([None, None], tf.int64)}
    numbers = [event(n, 1, item, n) for n, item in enumerate(["7", "007", "0", "123456789012345678"])]
    others = [event(n, 2, item, n) for n, item in enumerate(["8", "1_0", "x", "-5", "9223372036854775808"])]
    odd = [event(n, 3, item, n) for n, item in enumerate(["1_0", "9"])]
    found = _histories([numbers, others, odd, []], spec)
    assert found["item_id"].tolist() == [[7, 7, 0, 123456789012345678], [8, -5, -1, -1], [9, -1, -1, -1], [-1] * 4]
    assert found["timestamp"].tolist() == [[0, 1, 2, 3], [0, 3, -1, -1], [1, -1, -1, -1], [-1] * 4]
