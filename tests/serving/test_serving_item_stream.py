"""Item changes from a Redis stream or a Kafka topic reach the next answer; what is none is put aside."""

import time

import httpx
import pytest
import streams

from tfrs_twotower.freshness import FreshItems
from tfrs_twotower.online.streams import open_stream
from tfrs_twotower.serving import Server


@pytest.mark.parametrize("kind", ["redis", "kafka"])
def test_changes_reach_the_answers_and_others_are_put_aside(kind, request, shop_root, tmp_path):
    stream = streams.KINDS[kind][1](request.getfixturevalue(kind))
    bad = stream.add(withdrawn='["c"', changed="[]")
    unknown = stream.add(changed='[{"item_id": "n", "prise": 1}]')
    stream.add(changed='[{"item_id": "n", "price": 9}]', withdrawn='["c"]')
    fresh = FreshItems(tmp_path / "items")
    key = None if kind == "kafka" else stream.name
    opened = open_stream(stream.address, key, stream.group)
    with Server(shop_root, rest_port=0, grpc_port=0, fresh=fresh, item_stream=opened) as server:
        url, deadline = f"http://127.0.0.1:{server.rest_port}", time.monotonic() + 30
        while 'twotower_item_events_total{result="withdrawn"} 1.0' not in httpx.get(f"{url}/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        features = {"mood": [1, 0], "history_item_id": []}
        found = httpx.post(f"{url}/v1/recommend", json={"k": 2, "features": features}).json()["items"]
        assert [item["item_id"] for item in found] == ["n", "b"]
    assert 'twotower_item_events_total{result="rejected"} 2.0' in server.metrics.text()[0].decode()
    fresh.close()
    assert stream.pending() == 0
    assert {entry: reason.partition("`")[2].partition("`")[0] for entry, reason in stream.aside()} == {
        bad: "withdrawn", unknown: "prise"}
