"""Exploration behind a server: a new item by its event, shown by the channel, evaluated by the users' events."""

import argparse
import json

import httpx
import pytest

from tfrs_twotower.cli import exploring
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.exploration import EpsilonGreedy, Exposures, Newcomers, NewcomerShares
from tfrs_twotower.freshness import FreshItems
from tfrs_twotower.online import open_stores
from tfrs_twotower.serving import Server


def arguments(*given):
    parser = argparse.ArgumentParser()
    exploring.add_arguments(parser)
    return parser.parse_args(given)


def test_a_new_item_is_shown_to_its_share_and_learns_from_clicks(shop_root, tmp_path):
    stores, fresh = open_stores(f"sqlite:{tmp_path}/store.db"), FreshItems(tmp_path / "items")
    fresh.change([{"item_id": "early", "price": 1.0}, {"item_id": "a", "price": 5.0}])
    args = arguments("--explore", f"{tmp_path}/new.db", "--explore-share", "0.5", "--explore-cap", "3",
                     "--explore-kinds", "buy")
    stores, fresh, channels, others = exploring.explored(args, stores, fresh)
    with Server(
        shop_root, rest_port=0, grpc_port=0, stores=stores, fresh=fresh, channels=channels
    ) as server, httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client:
        new = [{"item_id": item, "price": 2.0} for item in ("n", "gone")]
        for change in ({"changed": new}, {"withdrawn": ["gone"]}):
            client.post("/v1/items", json=change).raise_for_status()

        def shown():
            request = {"user_id": "u1", "k": 4, "channels": {"fresh": 2}, "features": {"mood": [0, 0]}}
            found = client.post("/v1/recommend", json=request).raise_for_status().json()["items"]
            assert len({item["item_id"] for item in found}) == 4
            return sorted(item["item_id"] for item in found if item["channel"] == "fresh")

        assert [shown() for _ in range(4)] == [[], ["early", "n"], [], ["early", "n"]]
        events = [{"event_id": kind, "user_id": "u1", "item_id": "n", "event": kind} for kind in ("view", "buy")]
        for _ in range(2):  # sent again
            client.post("/v1/events", json={"events": events}).raise_for_status()
        assert others[0].counts() == {"early": (1, 0), "gone": (0, 0), "n": (1, 1)}  # of one user
        assert [shown() for _ in range(4)] == [[], ["early", "n"], [], []]  # both were shown three times
    for opened in (stores, fresh, *others):
        opened.close()
    pool = Exposures(tmp_path / "new.db")
    assert pool.counts()["n"] == (1, 1)
    pool.close()


def test_what_it_needs_is_said():
    with pytest.raises(ConfigError, match="needs --store"):
        exploring.explored(arguments("--explore", "f"), None, None)
    assert exploring.explored(arguments(), None, None) == (None, None, (), ())
    assert exploring.newcomers(arguments(), None) == (None, None)


def test_newcomers_see_their_channel_and_less_of_it_with_each_event(shop_root, tmp_path):
    """Of four places: 4 · 1 · ½^(n / 1) are popular. u1's own items are c, b, a by price; popular are a, b, c, d."""
    (tmp_path / "n.json").write_text(json.dumps(
        {"channels": ["popular", "fresh"], "share": 1.0, "half_after": 1, "counts": f"{tmp_path}/n.db",
         "policy": {"type": "EpsilonGreedy", "epsilon": 0.0}}
    ))
    args, stores = arguments("--newcomers", f"{tmp_path}/n.json"), open_stores(f"sqlite:{tmp_path}/store.db")
    stores, shares = exploring.newcomers(args, stores)
    shares.counts.shown("u0", "popular", ["a"])
    shares.counts._counts.show("u0", 9, lambda ids, *_: [ids.index("popular")])
    shares.counts.click([("u0", "a")])  # so the policy takes `popular`
    with Server(
        shop_root, rest_port=0, grpc_port=0, stores=stores, newcomers=shares
    ) as server, httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client:
        def shown(**more):
            request = {"user_id": "u1", "k": 4, "features": {"mood": [0, 0]}, "exclude_seen": False, **more}
            found = client.post("/v1/recommend", json=request).raise_for_status().json()["items"]
            return [item["channel"] for item in found].count("popular")

        assert shown() == 4 and shown(channels={"u2i": 3, "popular": 1}) == 1
        for events, places in ((1, 2), (2, 1)):
            event = {"event_id": str(events), "user_id": "u1", "item_id": "abc"[events]}
            client.post("/v1/events", json={"events": [event]}).raise_for_status()
            assert shown() == places
    assert shares.counts.counts() == {"fresh": (0, 0), "popular": (2, 2)}  # u0 and u1, each once
    for opened in (stores, shares):
        opened.close()


def test_what_a_shadow_offers_is_not_counted_as_shown(shop_root, tmp_path):
    settings = Newcomers(("popular", "u2i"), 1.0, counts=f"{tmp_path}/n.db")
    shares = NewcomerShares(settings)
    server = Server(shop_root, newcomers=shares)
    server.repository.poll()
    request = {"user_id": "u1", "k": 2, "features": {"mood": [0, 0], "history_item_id": []}}
    with server.metrics.call("shadow:recommend") as call:
        call.arm = "shadow:ghost"
        assert len(server._endpoints["recommend"].answer(request)["items"]) == 2
    assert shares.counts.counts() == {"popular": (0, 0), "u2i": (0, 0)}
    server._endpoints["recommend"].answer(request)
    assert sum(shown for shown, _ in shares.counts.counts().values()) == 1
    server.repository.close()
    shares.close()


def test_the_policy_of_exploration_is_chosen(tmp_path):
    stores = open_stores(f"sqlite:{tmp_path}/store.db")
    fresh = FreshItems(tmp_path / "items")
    args = arguments("--explore", f"{tmp_path}/e.db", "--explore-policy", "epsilon", "--explore-epsilon", "0.3",
                     "--explore-rate", "0.25")
    *_, (channel,), others = exploring.explored(args, stores, fresh)
    policy = channel._explorer.settings.policy
    assert policy == EpsilonGreedy(0.3, 1.0, 3.0)
    for opened in (stores, fresh, *others):
        opened.close()
