"""`/v1/recommend` on a real export whose scores are known by hand (see `shop_export`), over HTTP and gRPC."""

import datetime
import decimal
import json

import grpc
import httpx
import pyarrow as pa
import pytest
import tensorflow as tf
from clocks import set_clock
from google.protobuf import struct_pb2

from tfrs_twotower.freshness import FreshItems
from tfrs_twotower.online import Event, StoreError, open_stores
from tfrs_twotower.serving import InvalidArgument, Limits, Predictor, Repository, Server
from tfrs_twotower.serving import metrics as metrics_module
from tfrs_twotower.serving.catalogue import Catalogue
from tfrs_twotower.serving.current_items import CurrentItems
from tfrs_twotower.serving.grpc_service import METHODS
from tfrs_twotower.serving.metrics import Metrics
from tfrs_twotower.serving.recommend.described import described
from tfrs_twotower.serving.recommend.recommendations import Recommendations

POPULAR = "abcdef"  # in this order


def test_a_version_is_warm_before_its_first_request(shop_root):
    with Server(shop_root, rest_port=0, grpc_port=0) as server, server.repository.lease() as model:
        assert {"ids", "by_popularity", "attributes"} <= set(vars(model.catalogue))


def test_scores_are_written_as_short_as_float32_allows(client):
    response = client.post("/v1/recommend", json={"user_id": "u1", "k": 2, "channels": {"popular": 2}})
    found = json.loads(response.text, parse_float=str)["items"]
    assert [item["score"] for item in found] == ["-1.2039728", "-1.3862944"]  # log .3 and log .25


class Broken:
    """A channel whose store fails."""

    name = "broken"

    def propose(self, context, n):
        raise StoreError("It is gone.")


class Noted:
    """A channel that proposes what it is set to, and notes what it is told."""

    name = "noted"
    items, contexts, asked = [], [], []

    def propose(self, context, n):
        self.contexts.append(context)
        self.asked.append(n)
        return [(item, 1.0) for item, good in zip(self.items, context.admits(self.items)) if good][:n]


@pytest.fixture(scope="module")
def server(shop_root, tmp_path_factory):
    """u3 took a, then f; u5 took a, and dislikes d; the store keeps all, the model reads one event.

    New is `n`, [0, 3], of no category.
    """
    folder = tmp_path_factory.mktemp("recommend")
    fresh, stores = FreshItems(folder / "items"), open_stores(f"sqlite:{folder}/store.db")
    stores.history.append([Event("1", "u3", "a", 10), Event("2", "u3", "f", 20), Event("3", "u1", "c", 5),
                           Event("4", "u5", "a", 10), Event("5", "u5", "d", 20, "dislike")])
    stores.profiles.put({"u4": {"mood": [1.0, 1.0]}})
    limits = Limits(max_k=20, max_width=8)
    with Server(
        shop_root, rest_port=0, grpc_port=0, limits=limits, stores=stores, fresh=fresh, channels=(Broken(), Noted())
    ) as server:
        yield server
    fresh.close()
    stores.close()


@pytest.fixture
def client(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client:
        yield client


@pytest.fixture
def changed(client):
    """`n` is new with the vector [0, 3], b costs ½ and is a cake now, c is withdrawn."""
    client.post("/v1/items", json={
        "changed": [
            {"item_id": "n", "price": 0, "tags": ["x", "y", "z"]}, {"item_id": "b", "price": 0.5, "category": "cake"},
        ],
        "withdrawn": ["c"],
    })
    yield
    client.post("/v1/items", json={
        "changed": [
            {"item_id": "b", "price": 2, "category": "fruit"}, {"item_id": "c", "price": 3, "category": "bread"},
        ],
        "withdrawn": ["n"],
    })


def ask(client, user="u1", **request):
    response = client.post("/v1/recommend", json={"user_id": user, **request})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["model_version"] == 1
    return answer["items"]


def ids(client, user="u1", **request):
    return "".join(item["item_id"] for item in ask(client, user, **request))


def test_the_towers_alone(client):
    assert ask(client, k=3) == [
        {"item_id": "c", "score": 6, "channel": "u2i"}, {"item_id": "b", "score": 4, "channel": "u2i"},
        {"item_id": "a", "score": 2, "channel": "u2i"},
    ]
    assert ids(client) == "cbafde" and ids(client, "u2", k=2) == "de"
    assert ids(client, features={"mood": [0, 9]}, k=2) == "df"
    assert ids(client, "u4", k=5) == "cbdfa"  # by its profile, [1, 1]: 6, 4, 4, 4, 2
    assert ids(client, k=2, popularity_beta=10) in ("fe", "ef")


def test_times_and_odd_numbers_of_a_table_become_what_json_has():
    table = pa.table({
        "item_id": [1, 2], "at": [datetime.datetime(1970, 1, 2), None], "day": [datetime.date(1970, 1, 3), None],
        "price": [float("nan"), 1.5], "exact": [decimal.Decimal("2.5"), None], "new": [True, None],
    })
    root = tf.Module()
    root.item_ids, root.vectors = tf.constant([1, 2], tf.int64), tf.zeros([2, 1])
    items = CurrentItems(Catalogue(root, table))
    fields = ["at", "day", "price", "exact", "new"]
    assert [list(values.values()) for values in described(items, [2, 1, 9], fields)] == [
        [None, None, 1.5, None, None], [86_400, 172_800, None, 2.5, True], [None] * 5,
    ]


def test_excluded_and_seen_items(client):
    assert ids(client, exclude_ids=["c", "a", "nobody"]) == "bfde"
    assert ids(client, exclude_seen=True) == "bafde" and ids(client, "u3", exclude_seen=True) == "bcde"
    assert ids(client, features={"mood": [0, 0], "history_item_id": ["b"]}, exclude_seen=True) == "afde"


def test_the_manifest_says_whether_what_was_seen_is_left_out(client, server):
    with server.repository.lease() as model:
        model.manifest["exclude_seen"] = True
        try:
            assert ids(client) == "bafde" and ids(client, exclude_seen=False) == "cbafde"
            assert ids(client, exclude_ids=["b"]) == "afde"  # beside what was seen
            found = client.post("/v1/models/shop:predict", json={"inputs": {"user_id": ["u1"], "k": 2}}).json()
            assert found["outputs"]["ids"] == [["b", "a"]]
        finally:
            del model.manifest["exclude_seen"]


@pytest.mark.parametrize("rules, expected", [
    ({"allow": {"category": ["fruit", "milk"]}}, "bae"),
    ({"allow": {"price": {"min": 1, "max": 2}}}, "baf"),
    ({"allow": {"tags": "x"}}, "fde"),
    ({"deny": {"tags": "x"}}, "cba"),
    ({"allow": {"price": {"max": 1}}, "deny": {"category": "fruit", "tags": "y"}}, "fe"),
    ({"allow": {"item_id": ["e", "b"]}, "exclude_ids": ["b"]}, "e"),
    ({"allow": {"category": "fish"}}, ""),
    ({"allow": {"category": "bread"}, "k": 1}, "c"),
])
@pytest.mark.parametrize("by_name", [True, False])
def test_rules_leave_k_items_while_there_are_so_many(client, monkeypatch, rules, expected, by_name):
    if not by_name:  # as where many items are left: the search fetches more and more
        monkeypatch.setattr("tfrs_twotower.serving.recommend.builtin._ALLOWED_BY_NAME", 0)
    assert ids(client, **rules) == expected


def test_rules_hold_for_every_channel(client, changed):
    channels = {"i2i": 2, "popular": 2, "fresh": 2, "u2i": 2}
    found = ask(client, "u3", k=8, channels=channels, deny={"category": ["bread", "cake"]}, exclude_ids=["f"])
    assert sorted(item["item_id"] for item in found) == ["a", "e", "n"]
    found = ask(client, "u3", k=8, channels=channels, allow={"tags": "z"})
    assert [(item["item_id"], item["channel"]) for item in found] == [("n", "i2i")]


def test_changed_items_by_their_new_features(client, changed):
    assert ids(client) == "afbden" and ids(client, "u2", k=2) == "nd"
    assert ids(client, allow={"category": "cake"}) == "b" and ids(client, allow={"category": "fruit"}) == "a"
    # popular lacks n: its last place, which u2i fills, stands in the middle
    assert ids(client, channels={"popular": 6}, k=6) == "abdnef" and ids(client, k=1, channels={"fresh": 1}) == "n"


def test_an_item_carries_the_asked_columns_of_the_table_or_of_its_event(client, changed):
    found = ask(client, "u2", k=3, fields=["category", "price", "tags"])
    assert [(item["item_id"], item["fields"]) for item in found] == [
        ("n", {"category": None, "price": 0, "tags": ["x", "y", "z"]}),  # new: as in its event
        ("d", {"category": "bread", "price": 0, "tags": ["x", "y"]}),
        ("e", {"category": "milk", "price": 0, "tags": ["x"]}),
    ]
    (edited,) = ask(client, allow={"item_id": "b"}, fields=["item_id", "category"])
    assert edited["fields"] == {"item_id": "b", "category": "cake"}
    assert "fields" not in ask(client, k=1)[0]


def test_why_an_item_is_in_the_answer(client, changed):
    """The average item of the catalogue is (7/6, 4/6), at τ = ½ and without a weight of popularity."""
    found = ask(client, "u4", k=2, explain=True)  # by its profile, (1, 1): n is (0, 3), and 3 + 0 beats d's 2
    assert [item["item_id"] for item in found] == ["n", "d"]
    why = found[0]["explanation"]
    assert (why["score"], why["method"], why["popularity"], why["events"]) == (6, "leave-one-out", 0, [])
    assert why["base"] == pytest.approx(2 * 11 / 6, abs=1e-6)
    assert why["features"]["mood"] == pytest.approx(6 - 2 * 11 / 6, abs=1e-6) and why["rest"] == why["repeats"] == 0
    by_event = ask(client, "u3", k=1, explain=True, features={"mood": [1, 0]})[0]["explanation"]
    assert [(event["item_id"], event["share"]) for event in by_event["events"]] == [("f", 0)]  # the model reads one
    assert by_event["without"] == {"item_id": "f", "title": "f", "place": 1, "offered": []}
    assert "explanation" not in ask(client, k=1)[0]


def test_a_disliked_item_is_no_item_to_find_others_by(client):
    assert "d" not in ids(client, "u5", k=6, channels={"noted": 1}, exclude_seen=True)
    assert Noted.contexts[-1].recent == ("a",)


def test_a_withdrawn_item_is_in_no_answer(client):
    for channel in ("u2i", "i2i", "popular", "noted"):
        Noted.items = ["c"]
        assert "c" in ids(client, "u3", k=6, channels={channel: 6})
    client.post("/v1/items", json={"withdrawn": ["c"]})
    for channel in ("u2i", "i2i", "popular", "noted", "fresh"):
        assert "c" not in ids(client, "u3", k=6, channels={channel: 6})
    client.post("/v1/items", json={"changed": [{"item_id": "c", "price": 3, "category": "bread"}]})
    assert ids(client, k=1) == "c"


def test_places_are_filled_in_order_and_the_channel_is_named(client):
    # u3 is unknown to the towers, but has a history: scores 0, so rows in their order. Its last items are f and a.
    found = ask(client, "u1", k=4, channels={"popular": 1, "i2i": 1}, exclude_seen=True)
    # popular: a. i2i of c, [3, 0]: b, 6. u2i fills: 4 b is taken, 2 a is taken, 2 f, 0 d.
    assert [(item["item_id"], item["channel"], item["score"]) for item in found] == [
        ("f", "u2i", 2), ("a", "popular", pytest.approx(-1.204, abs=1e-3)), ("b", "i2i", 6), ("d", "u2i", 0),
    ]
    # fresh has nothing: its place goes to u2i
    assert [item["channel"] for item in ask(client, k=2, channels={"fresh": 2})] == ["u2i", "u2i"]


def test_i2i_starts_from_the_last_items(client):
    # Of f [1, 1] and a [1, 0]: c 3, b 2, d 2; these two are left out.
    found = ask(client, "u3", k=3, channels={"i2i": 3})
    assert sorted((-item["score"], item["item_id"]) for item in found) == [(-3, "c"), (-2, "b"), (-2, "d")]


def test_an_unknown_user_gets_what_is_popular(client):
    for user in ("never seen", None):
        found = ask(client, user, k=3, channels={"i2i": 1, "u2i": 2})
        assert [(item["item_id"], item["channel"]) for item in found] == [(i, "popular") for i in "abc"]
    assert ask(client, "u3", k=1)[0]["channel"] == "u2i"  # it has a history
    assert ask(client, "never seen", k=1, features={"mood": [1, 0]})[0]["channel"] == "u2i"
    assert ids(client, "never seen", k=2, allow={"category": "bread"}) == "cd"


def test_diversity_chooses_unlike_items(client):
    # u1: c b a f d e, whose cosines with c are 1 1 1 .71 0 0. Of the pool c b a f d e, at ½: c, then f
    # (worth ½ · ½ − ½ · .71 = −.104), d (½ · ⅓ = .167), e (½ · ⅙ = .083), b (.417 − .5 = −.083). So d; then
    # b −.083, f (largest cosine .71) −.104, e (1 with d) −.417. So b.
    assert ids(client, k=3, diversity=0.5) == "cdb" and ids(client, k=3, diversity=0) == "cba"


def test_diversity_counts_what_other_channels_chose(client):
    # popular brings a, [1, 0]. At 1 all that counts is the cosine with it: d and e have 0, d comes first.
    found = ask(client, k=2, channels={"popular": 1, "u2i": 1}, diversity=1)
    assert [item["item_id"] for item in found] == ["a", "d"]


def test_channels_of_others(client):
    Noted.items, Noted.contexts, Noted.asked = ["a", "nobody", "e", "d"], [], []
    found = ask(client, "u3", k=3, channels={"popular": 1, "noted": 2}, diversity=0.5)
    assert [(i["item_id"], i["channel"]) for i in found] == [("e", "noted"), ("a", "popular"), ("d", "noted")]
    context, = Noted.contexts
    assert (context.user_id, context.recent, Noted.asked) == ("u3", ("f", "a"), [2])
    assert [item["channel"] for item in ask(client, k=2, channels={"broken": 2})] == ["u2i", "u2i"]
    assert 'twotower_store_failures_total{what="channel"} 1.0' in client.get("/metrics").text


def test_rules_and_proposals_have_figures_of_their_own(server, client):
    def counted():
        lines = [line.split() for line in client.get("/metrics").text.splitlines() if "stage_seconds_count" in line]
        return {name.split('"')[1]: float(value) for name, value in lines}

    ask(client)
    for request, model in (({"k": 2, "exclude_seen": True}, 1), ({"k": 2, "channels": {"popular": 2}}, 0)):
        before = counted()
        ask(client, **request)
        after = counted()
        more = {stage: after[stage] - before[stage] for stage in ("filter", "channels", "model")}
        assert more == {"filter": 1, "channels": 1, "model": model}  # u2i alone asks the model


def test_a_part_of_a_request_counts_without_the_parts_inside_it(monkeypatch):
    metrics, moments = Metrics(), iter([0, 1, 4, 5, 5.5, 10, 20, 22])
    set_clock(monkeypatch, metrics_module, perf_counter=lambda: next(moments))
    with metrics.stage("filter"):
        for _ in range(2):
            with metrics.stage("channels"):
                pass
    with metrics.stage("filter"):
        pass
    sums = [line for line in metrics.text()[0].decode().splitlines() if "stage_seconds_sum" in line]
    assert [line.split()[-1] for line in sums] == ["3.5", "8.5"]  # channels: 3 + .5; filter: 10 − 3.5 and 2


REFUSED = [
    ({"kk": 1}, 400, "no `kk`. Did you mean `k`?"),
    ({"k": 0}, 400, "`k` must be a whole number from 1 to 20"),
    ({"k": 21}, 400, "`k` must be a whole number from 1 to 20"),
    ({"k": True}, 400, "`k` must be"),
    ({"user_id": ["u1"]}, 400,
     "`user_id` must be text or a whole number of 64 bits. Received: user_id=['u1']. Send one id."),
    ({"features": {"mood": 1}}, 400, "`mood` must be a list. Received: mood=1. Send a list: [1]."),
    ({"user_id": "\ud800"}, 400, "surrogates not allowed"),
    ({"allow": {"category": "\ud800"}}, 400, "surrogates not allowed"),
    ({"features": {"moot": [1, 1]}}, 400, "no input `moot`. Did you mean `mood`?"),
    ({"features": {"k": 3}}, 400, "be features of a query"),
    ({"features": {"mood": ["x", "y"]}}, 400, "`mood` must be float32"),
    ({"features": {"mood": [1]}}, 400, "`mood` must have the shape"),
    ({"exclude_seen": 1}, 400, "`exclude_seen` must be true or false"),
    ({"exclude_ids": "a"}, 400, "`exclude_ids` must be a list"),
    ({"exclude_ids": [["a"]]}, 400, "`exclude_ids` must be a list"),
    ({"exclude_ids": ["a"] * 9}, 413, "`exclude_ids` must have at most 8"),
    ({"allow": {"category": ["a"] * 9}}, 413, "`allow.category` must have at most 8"),
    ({"allow": {"categry": "a"}}, 400, "no attribute `categry`. Did you mean `category`?"),
    ({"allow": {"image": [0.5]}}, 400, "no attribute `image`"),
    ({"deny": {"price": "dear"}}, 400, "`deny.price` must be a number"),
    ({"deny": ["a"]}, 400, "`deny` must be an object"),
    ({"popularity_beta": "x"}, 400, "`popularity_beta` must be a number"),
    ({"popularity_beta": 1e300}, 400, "`popularity_beta` must be a number"),
    ({"channels": {"populr": 1}}, 400, "no channel `populr`. Did you mean `popular`?"),
    ({"channels": {"u2i": 5, "i2i": 6}}, 400, "at most k=10 items"),
    ({"diversity": 1.1}, 400, "`diversity` must be from 0 to 1"),
    ({"explain": 1}, 400, "`explain` must be true or false"),
    ({"fields": "price"}, 400, "`fields` must be a list of columns"),
    ({"fields": ["prise"]}, 400, "must name columns of the item table. Received: 'prise'. Did you mean `price`?"),
    ({"fields": ["title"]}, 400, "Received: 'title'. Known: `item_id`, "),
    ({"fields": ["price"] * 9}, 413, "`fields` must have at most 8"),
    ({"diversity": None}, 400, "`diversity` must be from 0 to 1"),
]


@pytest.mark.parametrize("request_, status, message", REFUSED)
def test_what_is_wrong_is_refused_with_the_reason(client, request_, status, message):
    response = client.post("/v1/recommend", content=json.dumps({"user_id": "u1", **request_}))
    assert response.status_code == status and message in response.json()["error"], response.text


def test_the_same_over_grpc(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary(
            "/{}/{}".format(*METHODS["recommend"]), request_serializer=struct_pb2.Struct.SerializeToString,
            response_deserializer=struct_pb2.Struct.FromString,
        )
        request = struct_pb2.Struct()
        request.update({"user_id": "u1", "k": 2, "allow": {"price": {"max": 2}}, "channels": {"popular": 1}})
        request.update({"fields": ["price"]})
        answer = call(request)
        assert [dict(item["fields"]) for item in answer["items"]] == [{"price": 1}, {"price": 2}]
        assert [(item["item_id"], item["channel"]) for item in answer["items"]] == [("a", "popular"), ("b", "u2i")]
        assert answer["model_version"] == 1
        request.update({"k": 2.5})
        with pytest.raises(grpc.RpcError, match="`k` must be a whole number from 1 to 20"):
            call(request)


def test_without_a_store_it_says_which_features_it_got(shop_root):
    repository = Repository(shop_root)
    repository.poll()
    ask = Recommendations(Predictor(repository), Metrics()).recommend
    with pytest.raises(InvalidArgument, match=r"needs the inputs .*'mood'.*\]. Received: \['user_id'\]. Send them, or"):
        ask({"user_id": "u1", "k": 2})
    repository.close()


def test_an_export_of_another_kind_is_501(history_root):
    with Server(history_root, rest_port=0, grpc_port=0) as server:
        response = httpx.post(f"http://127.0.0.1:{server.rest_port}/v1/recommend", json={"user_id": "7"})
        assert response.status_code == 501 and "no catalogue" in response.json()["error"]
