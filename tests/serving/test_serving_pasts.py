"""The histories of a request are those that training reads: of the same kinds, with the same parts, in one order."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.coldstart import InterestHistory
from tfrs_twotower.data import InteractionLog, Searched
from tfrs_twotower.features import History, Id, Schema, Searches, Sequence, build_fields
from tfrs_twotower.online import Event, Retention, load_log, open_stores
from tfrs_twotower.serving.features import Features
from tfrs_twotower.serving.metrics import Metrics
from tfrs_twotower.serving.model import LoadedModel
from tfrs_twotower.serving.signature import Signature
from tfrs_twotower.training import Examples, adapt

import tensorflow as tf  # isort: skip

KINDS = ["view", "buy", "like", None]


def schema(merge):
    """Histories of all kinds, of some, searches, and a sequence with these runs."""
    return Schema(
        query=(
            History(length=6, pooling="decay"),
            History(length=5, merge="genres", reads=("event",), categories=("genres",)),
            History(length=4, kinds=("buy",), reads=("dwell",)),
            Searches(length=7, tokens=3),
            Sequence(
                length=5, merge=merge, kinds=("like", "buy"), reads=("event", "dwell"), categories=("genres", "brand")
            ),
        ),
        candidate=(Id("item_id", dim=3),),
    )


def random_log(n=240, users=5, items=9):
    """Many events of one second, of four kinds, some with a dwell time."""
    rng = np.random.default_rng(0)
    return InteractionLog(
        user=rng.integers(0, users, n).astype(np.int32),
        item=rng.integers(0, items, n).astype(np.int32),
        timestamp=np.sort(rng.integers(1, 60, n)),
        weight=np.ones(n, np.float32),
        context=pa.table({
            "event": pa.array(rng.choice(KINDS, n).tolist(), pa.string()),
            "dwell": [None if d < 0.3 else 100 * d for d in rng.random(n).tolist()],
            "query": [f"words {i}" if i % 3 else None for i in range(n)],
        }),
        users=pa.table({"user_id": [f"u{i}" for i in range(users)]}),
        items=pa.table({
            "item_id": [f"i{i}" for i in range(items)], "brand": ["a", "b", None] * (items // 3),
            "genres": [["x", "y"], [], None] * (items // 3),
        }),
    )


def before(log, row):
    """The log without the events from a row on."""
    arrays = {name: getattr(log, name)[:row] for name in ("user", "item", "timestamp", "weight")}
    return dataclasses.replace(log, **arrays, context=log.context.slice(0, row))


def examples(log, kinds=(), merge="brand"):
    """(Examples, the fields) of all of `schema`."""
    query, candidate = build_fields(schema(merge), seed=1)
    adapt(log, np.arange(len(log)), query, candidate)
    return Examples(log, query, candidate, kinds=kinds), query


def model(made, fields):
    """A `LoadedModel` whose query reads what the fields do."""
    inputs = {name: spec for field in fields for name, spec in field.inputs().items()}
    windows = {name: {"kinds": list(past.kinds), "events": past.length} for name, past in made.pasts.items()}
    echo = Signature("serving_default", inputs, {}, {}, lambda **tensors: tensors)
    return LoadedModel(1, {"histories": windows, "searches": 7}, "", {}, {"serving_default": echo}, None)


@pytest.mark.parametrize("kinds", [(), ("view", "")])
def test_a_replayed_log_gives_training_and_serving_the_same_histories(stores, kinds):
    log = random_log()
    made, fields = examples(log, kinds)
    served = model(made, fields)
    for row in range(20, len(log), 20):
        load_log(stores.history, before(log, row))
        next_rows = np.array([row + np.flatnonzero(log.user[row:] == user)[0] for user in set(log.user[row:])])
        asked = [log.users["user_id"][int(log.user[r])].as_py() for r in next_rows]
        # Words of a search, of the kinds that count, that chose no item: no history shows them.
        stores.history.append([Event(f"s{row}", u, "", 60, k or "", query="q") for u in asked for k in KINDS])
        request = {"user_id": text(asked), "timestamp": log.timestamp[next_rows]}
        joined = join(stores, served, request)
        trained, wanted = made.raw_queries(next_rows), made.queries(next_rows)
        assert {*trained} == {*joined} and "history_like_buy_event" in joined
        for name, values in trained.items():
            if values.shape.rank == 2:
                width = joined[name].shape[1]
                assert same(joined[name], values[:, :width]) and missing(values[:, width:]), name
        for field in fields:
            for part, values in field.encode(joined).items():
                other = wanted[field.name][part]
                width = min(values.shape[1], other.shape[1])
                np.testing.assert_array_equal(values[:, :width], other[:, :width])
                assert np.all(values[:, width:] <= 0) and np.all(other[:, width:] <= 0)


def test_a_store_that_keeps_kinds_gives_the_histories_of_these_kinds_that_training_has(tmp_path):
    """Of 240 events it keeps 25 a user: not all of the newest 6, but all that the buys and likes of a request need."""
    log, few = random_log(users=2), Retention(events=5, kinds=("buy", "like"))
    made, fields = examples(log, merge=None)
    stores = open_stores(f"sqlite:{tmp_path}/few.db", few)
    load_log(stores.history, before(log, 200))
    rows = np.array([200 + np.flatnonzero(log.user[200:] == user)[0] for user in (0, 1)])
    request = {"user_id": np.array([b"u0", b"u1"], object), "timestamp": log.timestamp[rows]}
    served = model(made, fields)
    joined = Features(stores, Metrics()).join(served, served.signatures["serving_default"], request)
    stores.close()
    trained = made.raw_queries(rows)
    for name in [name for name in trained if name.startswith(("history_buy", "history_like"))]:
        assert same(joined[name], trained[name][:, :joined[name].shape[1]]), name
    assert (joined["history_buy_item_id"] != b"").sum() == 8


def test_picks_stand_in_every_history_until_the_model_reads_an_event(stores):
    made, fields = examples(random_log(), ("view", "buy", "like"))
    served = model(made, fields)
    stores.profiles.put({user: {"interests": ["i3", "i1"]} for user in ("a", "b", "c")})
    stores.history.append([Event("1", "a", "i5", 50, "view"), Event("2", "b", "i6", 50, "unread")])
    picked = dataclasses.replace(stores, history=InterestHistory(stores.history, stores.profiles))
    joined = Features(picked, Metrics()).join(
        served, served.signatures["serving_default"], {"user_id": np.array([b"a", b"b", b"c", b"d"], object)})
    found = {name: [[item.decode() for item in row if item] for row in joined[f"{name}_item_id"]]
             for name in ("history", "history_buy", "history_like_buy")}
    assert found == {"history": [["i5"], ["i3", "i1"], ["i3", "i1"], []],
                     "history_buy": [[], ["i3", "i1"], ["i3", "i1"], []],
                     "history_like_buy": [[], ["i3", "i1"], ["i3", "i1"], []]}


def test_searches_that_chose_no_item_are_read_by_a_server_if_training_had_any(stores):
    log, rng = random_log(), np.random.default_rng(1)
    alone = Searched(rng.integers(0, 5, 90).astype(np.int32), 10 * rng.integers(1, 60, 90) + 5,
                     pa.array([f"alone {i}" for i in range(90)]))
    log = dataclasses.replace(log, timestamp=10 * log.timestamp, searched=Searched.of([alone]))
    made, fields = examples(log)
    served = model(made, fields)
    for row in range(20, len(log), 20):
        load_log(stores.history, before(log, row))
        next_rows = np.array([row + np.flatnonzero(log.user[row:] == user)[0] for user in set(log.user[row:])])
        until = dict(zip(log.user[next_rows].tolist(), log.timestamp[next_rows].tolist()))
        stores.history.append([
            Event(words, f"u{user}", "", int(at), "search", query=words)
            for user, at, words in zip(alone.user.tolist(), alone.timestamp, alone.query.to_pylist())
            if at < until.get(user, 0)
        ])
        request = {"user_id": text([f"u{user}" for user in until])}
        for trained_on_them in (True, False):
            served.manifest["searches_alone"] = trained_on_them
            joined = join(stores, served, request)
            words = made.raw_queries(next_rows)["searches"].numpy()
            found = [[one for one in of if one] for of in joined["searches"].numpy().tolist()]
            assert (found == [[one for one in of if one] for of in words.tolist()]) == trained_on_them
    assert b"alone" in b" ".join(words.ravel()) and b"words" in b" ".join(words.ravel())


def text(values):
    return tf.constant(values, tf.string).numpy()


def join(stores, served, request):
    """What the server fills in, as its signature gets it."""
    signature = served.signatures["serving_default"]
    return signature.tensors(Features(stores, Metrics()).join(served, signature, request))


def same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype == np.int64:  # padding of times: training writes 0, a store −1; both mean none
        a, b = np.maximum(a, 0), np.maximum(b, 0)
    return (a == b).all() if a.dtype == object else np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def missing(values):
    values = values.numpy()
    return np.all(np.isnan(values) if values.dtype.kind == "f" else values == (b"" if values.dtype == object else 0))


def test_a_history_of_kinds_holds_its_own_newest_events(stores):
    log = random_log()
    made, fields = examples(log)
    rows = np.arange(200, 220)
    raw = made.raw_queries(rows)
    for row, user in zip(range(20), log.user[rows]):
        earlier = [r for r in range(rows[row]) if log.user[r] == user and log.context["event"][r].as_py() == "buy"][-4:]
        got = [item.decode() for item in raw["history_buy_item_id"].numpy()[row] if item]
        assert got == [f"i{log.item[r]}" for r in earlier]
        dwell = [log.context["dwell"][r].as_py() for r in earlier]
        want = np.array([np.nan if d is None else d for d in dwell], np.float32)
        np.testing.assert_array_equal(raw["history_buy_dwell"].numpy()[row][:len(got)], want)


def test_a_request_with_its_own_items_needs_no_other_part(stores):
    made, fields = examples(random_log())
    served = model(made, fields)
    request = {"user_id": text(["u1"]), "history_like_buy_item_id": text([["i1", "i2"]])}
    joined = join(stores, served, request)
    assert joined["history_like_buy_event"].numpy().tolist() == [[b"", b""]]
    assert np.isnan(joined["history_like_buy_dwell"]).all() and joined["history_item_id"].shape == (1, 0)
