"""Answers of lists by hand, before there is an event: in Python, and of the server by the ordinary signatures."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.serving import toy_export
from tfrs_twotower import columns as c
from tfrs_twotower import exporting
from tfrs_twotower.cli.main import main
from tfrs_twotower.coldstart import ByColumn, ByList, rule_retriever
from tfrs_twotower.errors import DataError
from tfrs_twotower.exporting import manifest, signatures
from tfrs_twotower.freshness import FreshItems
from tfrs_twotower.online import open_stores
from tfrs_twotower.pipeline import runs
from tfrs_twotower.serving import Predictor, Repository
from tfrs_twotower.serving.features import Features
from tfrs_twotower.serving.loading import load
from tfrs_twotower.serving.metrics import Metrics
from tfrs_twotower.serving.recommend import Recommendations

# In the global order: e (9), a (5), c (4), d (4, further down the table), b (no number).
ITEMS = pa.table({
    "item_id": ["a", "b", "c", "d", "e"],
    "sold": pa.array([5.0, None, 4.0, 4.0, 9.0]),
    "country": [["DE"], ["DE", "FR"], [], None, ["FR"]],
    "kind": ["toy", "toy", None, "book", "book"],
})
RULES = (
    ByList("device", {"phone": ["d", "b"], "desk": ["c"]}),
    ByColumn("country", "country"),
    ByList("hour", {8: ["c"], 20: ["d", "c", "b"]}),
)
MORNING = 8 * 3600 + 59 * 60  # of 1 January 1970, a Thursday


def ask(retriever, k=5, exclude=(), allow=(), beta=0.0, **context):
    """(ids, scores) of one user."""
    given = {"user_id": "u", "device": "", "country": "", "timestamp": -1, **context}
    features = {
        name: tf.constant([given[name]], spec.dtype) for name, spec in retriever.query_tower.inputs().items()
    }
    lists = [tf.reshape(tf.constant(list(ids), tf.string), [1, -1]) for ids in (exclude, allow)]
    ids, scores = retriever.recommend(features, tf.constant(k), *lists, tf.constant(beta))
    return [i.decode() for i in ids.numpy()[0]], scores.numpy()[0]


@pytest.fixture(scope="module")
def retriever():
    return rule_retriever(ITEMS, RULES, order="sold")


def test_without_a_context_the_global_order_answers(retriever):
    ids, scores = ask(retriever)
    assert ids == ["e", "a", "c", "d", "b"]
    # 1 less the share of the items that stand before.
    np.testing.assert_allclose(scores, [1, 0.8, 0.6, 0.6, 0], atol=1e-6)
    assert ask(retriever, device="unknown", country="unknown", timestamp=5 * 3600)[0] == ids


@pytest.mark.parametrize("context, expected", [
    ({"device": "phone"}, "dbeac"),
    ({"country": "DE"}, "abecd"),  # the column's lists stand in the global order
    ({"country": "FR"}, "ebacd"),
    ({"timestamp": MORNING}, "ceadb"),
    ({"timestamp": MORNING + 86_400 * 365 + 12 * 3600}, "dcbea"),
    ({"device": "phone", "country": "DE"}, "dbaec"),  # an item stands where it comes first
    ({"device": "desk", "country": "FR", "timestamp": 20 * 3600}, "cebda"),
])
def test_lists_come_in_the_order_of_the_rules(retriever, context, expected):
    ids, scores = ask(retriever, **context)
    assert "".join(ids) == expected
    assert (np.diff(scores) <= 0).all()


def test_scores_tell_rule_and_place(retriever):
    # Three rules: the first is worth 3. "d" is the first of two of it, "b" the second; "a" of DE has the place 0.8.
    scores = dict(zip(*ask(retriever, device="phone", country="DE")))
    assert scores == pytest.approx({"d": 4.0, "b": 3.5, "a": 2.8, "e": 1.0, "c": 0.6})


def test_filters_and_popularity_hold(retriever):
    assert ask(retriever, 3, exclude=["d", "e"], device="phone")[0] == ["b", "a", "c"]
    assert ask(retriever, 3, allow=["e", "c"], device="phone")[0] == ["e", "c", ""]
    assert ask(retriever, beta=100.0)[0][0] == "b" and ask(retriever, beta=-100.0)[0][0] == "e"


def test_weekdays_and_whole_numbers():
    items = pa.table({"item_id": [1, 2, 3], "open_on": [[3], [4], [0, 3]]})
    retriever = rule_retriever(items, [ByColumn("weekday", "open_on")])
    features = {"user_id": tf.constant(["u"] * 3), "timestamp": tf.constant([1, 86_400, 4 * 86_400], tf.int64)}
    nothing = tf.zeros([1, 0], tf.int64)
    ids, _ = retriever.recommend(features, tf.constant(3), nothing, nothing, tf.constant(0.0))
    assert ids.numpy().tolist() == [[1, 3, 2], [2, 1, 3], [3, 1, 2]]  # Thursday, Friday, Monday; else as in the table


def test_the_smallest_first(retriever):
    assert ask(rule_retriever(ITEMS, order="sold", ascending=True))[0] == ["c", "d", "a", "e", "b"]


@pytest.mark.parametrize("make, message", [
    (lambda: rule_retriever(ITEMS, order="sald"), "no column `sald`. Did you mean `sold`"),
    (lambda: rule_retriever(ITEMS, [ByColumn("country", "contry")]), "no column `contry`. Did you mean `country`"),
    (lambda: rule_retriever(ITEMS, [ByList("device", {"phone": ["x"]})]), "must name items of the table"),
    (lambda: rule_retriever(ITEMS, [ByList("device", {})]), "must have values"),
    (lambda: rule_retriever(ITEMS, [ByList("hour", {"8": ["a"]})]), "whole numbers"),
    (lambda: rule_retriever(ITEMS.slice(0, 0)), "no rows"),
    (lambda: rule_retriever(pa.table({"item_id": ["a", "b", "a"]})), "item_id='a'"),
])
def test_what_cannot_be_meant_is_refused(make, message):
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        make()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The folder of a model that `twotower cold-start` made of files."""
    folder = tmp_path_factory.mktemp("cold")
    pq.write_table(ITEMS, folder / "items.parquet")
    for rule in (RULES[0], RULES[2]):
        rows = [f"{item},{value}" for value, items in rule.lists.items() for item in items]
        (folder / f"{rule.field}.csv").write_text("\n".join([f"item_id,{rule.field}", *rows, ""]))
    assert main([
        "cold-start", str(folder / "items.parquet"), "--name", "shop", "--runs", str(folder), "--order", "sold",
        "--list", f"device={folder}/device.csv", "--by", "country=country", "--list", f"hour={folder}/hour.csv",
        "--input", "age=number",
    ]) == 0
    return folder / "shop"


@pytest.fixture(scope="module")
def served(shop):
    """A repository that follows `latest`."""
    repository = Repository(shop / "latest" / "export")
    repository.poll()
    assert repository.available() == [1]
    yield repository
    repository.close()


def test_the_server_answers_by_the_ordinary_signature(served):
    request = {"user_id": ["u", "v"], "age": np.array([30, np.nan], np.float32), "device": ["phone", ""],
               "country": ["", "FR"], "timestamp": np.array([-1, MORNING])}
    answer = Predictor(served).predict("", {**request, "k": np.int32(3), "exclude_ids": [["b"]]})
    assert answer["ids"].tolist() == [[b"d", b"e", b"a"], [b"e", b"c", b"a"]]


def test_rules_of_the_request_and_unknown_users(served):
    recommendations = Recommendations(Predictor(served), Metrics())

    def ask(**request):
        known = {"timestamp": -1, "age": 1.0, "device": "", "country": ""}
        request = {"user_id": "u", "features": {**known, **request.pop("features", {})}, "k": 3, **request}
        return "".join(found["item_id"] for found in recommendations.recommend(request)["items"])

    assert ask(features={"country": "DE"}) == "abe"
    assert ask(features={"country": "DE"}, allow={"kind": ["book"]}) == "ed"
    assert ask(channels={"popular": 3}) == "eac"  # by the global order


@pytest.mark.parametrize("category_means", [None, "country"])
def test_a_new_item_takes_its_place_at_once(served, tmp_path, category_means):
    """Its own: lists were not trained, so that means of their vectors are no vectors of an item."""
    with served.lease() as model:
        fresh = FreshItems(tmp_path, category_means=category_means)
        fresh.attach(model)
        fresh.change([{"item_id": item, "sold": sold, "country": ["DE"]} for item, sold in (("new", 10), ("a", 7))])
        request = {"user_id": "u", "age": 1.0, "device": "", "country": "DE", "timestamp": -1}
        raw = {name: tf.constant([value], model.signature().inputs[name].dtype) for name, value in request.items()}
        answer = model.signature("recommend_fresh")({**raw, **fresh.items(model).inputs, c.K: tf.constant(4)})
        assert answer[c.IDS].numpy().tolist() == [[b"new", b"a", b"b", b"e"]]
        fresh.close()


def test_an_item_event_names_a_time_as_iso_text_or_as_seconds(tmp_path):
    days = [datetime.date(2026, 1, day) for day in (10, 20, 30)]
    items = pa.table({c.ITEM_ID: ["a", "b", "c"], "added": pa.array(days, pa.date32())})
    path = tmp_path / "1"
    retriever = rule_retriever(items, order="added")
    tf.saved_model.save(retriever, str(path), signatures(retriever))
    exporting.items.write(path, items)
    manifest.write(path, {"embedding_space": "s"})
    fresh, model = FreshItems(tmp_path / "log"), load(str(path), 1, manifest.read(path))
    fresh.attach(model)
    fresh.change([{"item_id": item, "added": added} for item, added in (
        ("day", "2026-01-25"), ("moment", "2026-01-20T01:30:00+02:00"), ("number", 1_768_003_200), ("none", None)
    )])  # the moment is 19 January in UTC, the number 10 January
    found = dict(zip(fresh.items(model).inputs[c.OVERLAY_IDS].numpy().tolist(),
                     fresh.items(model).inputs[c.OVERLAY_VECTORS].numpy()[:, 0].tolist()))
    assert found == pytest.approx({b"day": 2 / 3, b"moment": 1 / 3, b"number": 1 / 3, b"none": 0})
    with pytest.raises(DataError, match="Item 'x': `added` must be a time: seconds since 1970, UTC, or text as 2026"):
        fresh.change([{"item_id": "x", "added": "yesterday"}])
    fresh.close()


def test_the_first_training_takes_over_the_same_request(shop, served, tmp_path):
    stores = open_stores(f"sqlite:{tmp_path}/store.db")
    stores.profiles.put({"u": {"country": "DE", "device": "desk"}})
    predictor = Predictor(served, features=Features(stores, Metrics(), clock=lambda: MORNING))
    request = {"user_id": ["u"], "k": np.int32(2)}
    assert predictor.predict("", request)["ids"].tolist() == [[b"c", b"a"]]
    recommended = Recommendations(predictor, Metrics(), stores).recommend({"user_id": "unknown", "k": 2})["items"]
    assert [(found["item_id"], found["channel"]) for found in recommended] == [("c", "u2i"), ("e", "u2i")]
    (shop / "first training" / "export").mkdir(parents=True)
    toy_export.write(shop / "first training" / "export", 8)
    runs.point_latest(shop / "first training")
    served.poll()
    assert served.available() == [8] and predictor.predict("", request)["scores"].tolist() == [[12.0, 11.0]]
    stores.close()
