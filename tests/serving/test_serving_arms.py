"""Arms of an experiment: each user gets the same one, by every way to ask; answers and log name it."""

import time

import grpc
import httpx
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.serving import history_export, shop_export
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.experiments import Arm, Arms
from tfrs_twotower.online import AnswerLog, read_answers
from tfrs_twotower.serving import CannotServe, Server, experiment

FEATURES = {"mood": [1, 0], "history_item_id": []}  # of the shop: an item's score is twice its price
NUMBERS = Arms((Arm("control", 0.4), Arm("old", 0.3, version=1), Arm("gone", 0.3, version=9)), "s")


def user_of(arms, name):
    """The first whole number whose user has the arm."""
    return next(n for n in range(1000) if arms.of(str(n)).name == name)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """A server of versions 1 and 2, whose scores hold the version; its log."""
    root, log = tmp_path_factory.mktemp("numbers"), AnswerLog(tmp_path_factory.mktemp("log"))
    for version in (1, 2):
        history_export.write(root, version)
    with Server(root, name="m", rest_port=0, grpc_port=0, answer_log=log, arms=NUMBERS) as server:
        yield server, log
    log.close()


def query(users):
    n = len(users)
    return {"user_id": users, "history_item_id": [[]] * n, "history_timestamp": [[]] * n, "timestamp": [1] * n,
            "age": [1.0] * n, "city": [""] * n, "tags": [[]] * n, "vector": [[0, 0]] * n}


def test_each_row_of_a_prediction_is_answered_by_its_users_arm(numbers):
    server, log = numbers
    users = [user_of(NUMBERS, name) for name in ("old", "control", "gone")]
    rows = [users[0], users[1], -1, users[2], users[0]]
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/m"
    found = httpx.post(f"{url}:predict", json={"inputs": query(rows)}).json()
    assert found["arm"] == ["old", "control", "control", "", "old"]  # without an id: the control
    assert [row[0] for row in found["outputs"]["scores"]] == pytest.approx([1.4, 2.4, 2.4, 2.4, 1.4])
    kept = {row["answer_id"]: (row["arm"], row["version"], row["user_id"])
            for row in read_answers(log.folder).to_pylist()}
    assert [kept[name] for name in found["answer_id"]] == [
        ("old", 1, str(users[0])), ("control", 2, str(users[1])), ("control", 2, ""), ("", 2, str(users[2])),
        ("old", 1, str(users[0]))]
    by_row = httpx.post(f"{url}:predict", json={"instances": [{n: v[0] for n, v in query([users[0]]).items()}]}).json()
    assert by_row["arm"] == ["old"] and by_row["predictions"][0]["scores"][0] == pytest.approx(1.4)
    named = httpx.post(f"{url}/versions/2:predict", json={"inputs": query([users[0]])}).json()
    assert "arm" not in named and named["outputs"]["scores"][0][0] == pytest.approx(2.4)
    echo = httpx.post(f"{url}:predict", json={"signature_name": "echo", "inputs": query([users[0]])}).json()
    assert set(echo) == {"outputs"}
    refused = httpx.post(f"{url}:predict", json={"inputs": {**query(rows), "age": [1.0]}})
    assert refused.status_code == 400 and "`age` must have as many rows" in refused.json()["error"]


def test_a_number_with_zeros_before_it_is_the_user_of_the_number(tmp_path):
    shop_export.write(tmp_path, 1, query=shop_export.NumberQuery())
    user = next(n for n in range(1000) if NUMBERS.of(str(n)).name != NUMBERS.of(f"00{n}").name)
    arms = Arms(tuple(Arm(arm.name, arm.share) for arm in NUMBERS.arms), NUMBERS.salt)
    with Server(tmp_path, rest_port=0, grpc_port=0, arms=arms) as server:
        given = [recommend(server, user_id=name)["arm"] for name in (user, str(user), f"00{user}")]
    assert given == [NUMBERS.of(str(user)).name] * 3


def test_arms_are_in_answers_over_grpc_and_counted(numbers):
    server, _ = numbers
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "m"
    model = server.repository
    with model.lease() as loaded:
        specs = loaded.signature().inputs
    for name, values in query([user_of(NUMBERS, "old"), user_of(NUMBERS, "control")]).items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(values, specs[name].dtype, [2, *specs[name].shape[1:]]
                                                           if None not in specs[name].shape[1:] else [2, 0]))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(message)
    assert tf.make_ndarray(answer.outputs["arm"]).tolist() == [b"old", b"control"]
    assert tf.make_ndarray(answer.outputs["scores"])[:, 0] == pytest.approx([1.4, 2.4])
    scraped = httpx.get(f"http://127.0.0.1:{server.rest_port}/metrics").text
    assert 'twotower_arm_answers_total{arm="old",result="answered"}' in scraped


@pytest.fixture(scope="module")
def shop(shop_root, tmp_path_factory):
    """(a server, its log, its arms)."""
    other, log = tmp_path_factory.mktemp("other"), AnswerLog(tmp_path_factory.mktemp("shop_log"))
    shop_export.write(other, 7)
    arms = Arms((
        Arm("control", 0.25), Arm("popular", 0.25, channels={"popular": 2, "i2i": 8}),
        Arm("rare", 0.25, popularity_beta=10), Arm("other", 0.25, root=str(other)),
        Arm("ghost", 1.0, root=str(other), shadow=True),
    ), "s")
    with Server(shop_root, rest_port=0, grpc_port=0, answer_log=log, arms=arms) as server:
        yield server, log, arms
    log.close()


def recommend(server, **request):
    body = {"k": 3, "features": FEATURES, **request}
    response = httpx.post(f"http://127.0.0.1:{server.rest_port}/v1/recommend", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_an_arm_gives_a_request_what_it_leaves_out(shop):
    server, _, arms = shop
    found = {name: recommend(server, user_id=user_of(arms, name)) for name in ("control", "popular", "rare", "other")}
    assert {name: answer["arm"] for name, answer in found.items()} == {name: name for name in found}
    assert [item["item_id"] for item in found["control"]["items"]] == ["c", "b", "a"]
    assert [item["channel"] for item in found["popular"]["items"]].count("popular") == 2
    assert found["rare"]["items"][0]["item_id"] == "f"  # 2 ⟨(1, 0), (1, 1)⟩ - 10 log .04 = 34.2
    assert [answer["model_version"] for answer in found.values()] == [1, 1, 1, 7]
    own = recommend(server, user_id=user_of(arms, "rare"), popularity_beta=0)
    assert own["arm"] == "rare" and own["items"][0]["item_id"] == "c"
    assert recommend(server)["arm"] == "control"
    named = recommend(server, user_id=user_of(arms, "other"), version=1)  # its own root has version 7 alone
    assert "arm" not in named and named["model_version"] == 1
    assert recommend(server, user_id=str(user_of(arms, "rare")))["arm"] == "rare"


def test_a_request_that_names_a_version_has_no_arm(shop):
    server, log, arms = shop
    user = user_of(arms, "other")  # its own root has version 7 alone
    answer = recommend(server, user_id=user, version=1)
    assert "arm" not in answer and answer["model_version"] == 1
    kept, = [row for row in read_answers(log.folder).to_pylist() if row["answer_id"] == answer["answer_id"]]
    assert kept["arm"] == "" and kept["version"] == 1
    rare = recommend(server, user_id=user_of(arms, "rare"), version=1)  # whose β puts f first
    assert rare["items"][0]["item_id"] == "c"
    refused = httpx.post(f"http://127.0.0.1:{server.rest_port}/v1/recommend", json={"user_id": user, "version": 7})
    assert refused.status_code == 404
    assert recommend(server, user_id=user, version=None)["arm"] == "other"


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_a_shadow_is_logged_and_not_shown(shop):
    server, log, arms = shop
    user = user_of(arms, "control")
    answer = recommend(server, user_id=f"{user}", k=2)

    def shadows():
        rows = read_answers(log.folder).to_pylist()
        return [row for row in rows if row["arm"] == "shadow:ghost" and len(row["item_id"]) == 2]

    row, = wait_for(shadows)
    assert (row["version"], row["user_id"], row["item_id"]) == (7, str(user), ["c", "b"])
    assert answer["arm"] == "control" and answer["model_version"] == 1 and row["answer_id"] != answer["answer_id"]
    url = f"http://127.0.0.1:{server.rest_port}/metrics"
    wait_for(lambda: 'method="shadow:recommend"' in httpx.get(url).text)  # it is counted after it is logged


def test_shadows_that_are_too_many_are_dropped_and_counted(shop_root, monkeypatch):
    monkeypatch.setattr(experiment, "_WAITING", 2)
    server = Server(shop_root, arms=Arms((Arm("control", 1.0), Arm("ghost", 1.0, shadow=True)), "s"))
    server.repository.poll()  # the thread of the shadows does not run
    for _ in range(5):
        assert server._experiment.recommend({"user_id": "u1", "features": FEATURES})["arm"] == "control"
    assert b'twotower_arm_answers_total{arm="ghost",result="dropped"} 3.0' in server.metrics.text()[0]
    server._experiment.stop()
    server.repository.close()


def test_arms_that_cannot_be_served_are_refused_at_the_start(shop_root, tmp_path):
    with pytest.raises(ConfigError, match="Arm `a`: there is no channel `popolar`. Did you mean `popular`"):
        Server(shop_root, arms=Arms((Arm("a", 1.0, channels={"popolar": 1}),), "s"))
    missing = Server(shop_root, rest_port=0, grpc_port=0, arms=Arms((Arm("a", 1.0, root=str(tmp_path / "no")),), "s"))
    with pytest.raises(CannotServe, match="Arm `a`: `root` must be a folder"):
        missing.start()
