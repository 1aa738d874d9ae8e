"""Exploration behind a server: a new item by its event, shown by the channel, evaluated by the users' events."""

import argparse

import httpx
import pytest

from tfrs_twotower.cli import exploring
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.exploration import Exposures
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
