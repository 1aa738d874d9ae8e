"""`--category-means`: items without training events get the mean vector of their category, also after a restart."""

import os
import shutil
import types

import httpx
import numpy as np
import pyarrow as pa
import tensorflow as tf

from tests.serving.test_serving_admission import wait_for
from tfrs_twotower.cli.main import main
from tfrs_twotower.exporting import manifest
from tfrs_twotower.freshness import CategoryVectors, open_items
from tfrs_twotower.serving import Server
from tfrs_twotower.serving.catalogue import Catalogue, texts

# Counts, one more each, are p(item) · (events + 6 items): with 18 events .96 of `f` and 1.44 of `e`, which had none
# then; with 94 events 4 and 6. So fruit is the mean of a and b, (1.5, 0), bread that of c and d, (1.5, 1), and milk,
# which only `e` is, is nobody's in version 1 and (0, 1) in version 2.
EVENTS = {1: 18, 2: 94}
CHANGED = [
    {"item_id": "new fruit", "price": 9, "tags": ["x"], "category": "fruit"},
    {"item_id": "new bread", "price": 9, "category": "bread"},
    {"item_id": "new milk", "price": 9, "category": "milk"},
    {"item_id": "no category", "price": 8},
    {"item_id": "b", "price": 5, "category": "bread"},  # training met it
    {"item_id": "e", "price": 6, "tags": ["x"], "category": "bread"},  # in the catalogue, without events in version 1
]
USERS = {"u1": [1, 0], "u2": [0, 1]}
COLD = {"new fruit": (1.5, 0), "new bread": (1.5, 1), "new milk": (9, 0), "no category": (8, 0), "b": (5, 0),
        "e": (1.5, 1)}
LATER = {**COLD, "new milk": (0, 1), "e": (6, 1)}


def vectors(client):
    """{item: its vector} of the changed items: scores of u1 and u2 are twice its two parts."""
    body = {"inputs": {"user_id": list(USERS), "history_item_id": [[]] * 2, "mood": [[0, 0]] * 2, "k": 20}}
    found = client.post("/v1/models/shop:predict", json=body).json()["outputs"]
    parts = [dict(zip(ids, scores)) for ids, scores in zip(found["ids"], found["scores"])]
    return {item: tuple(part[item] / 2 for part in parts) for item in COLD}


def publish(made, path, version):
    """The shop's export, with so many training events, in one step."""
    aside = path.parent.parent / str(version)
    shutil.copytree(made, aside)
    fields = manifest.read(aside)
    manifest.write(aside, {**fields, "training_events": EVENTS[version]}, fields["files"])
    path.parent.mkdir(exist_ok=True)
    os.rename(aside, path)


def test_new_items_stand_where_their_category_does_after_a_swap_and_a_restart_too(shop_root, tmp_path):
    root, folder = tmp_path / "export", tmp_path / "log"
    publish(shop_root / "1", root / "1", 1)
    fresh = open_items(folder, root, "category")
    with Server(root, rest_port=0, grpc_port=0, poll_seconds=0.05, fresh=fresh) as server:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client:
            assert client.post("/v1/items", json={"changed": CHANGED}).status_code == 200
            assert vectors(client) == COLD
            publish(shop_root / "1", root / "2", 2)
            wait_for(lambda: server.repository.available() == [2], "version 2")
            assert vectors(client) == LATER
        fresh.close()
        again = open_items(folder, root, "category")
        with server.repository.lease() as model:
            again.attach(model)
            inputs = again.items(model).inputs
        again.close()
    kept = dict(zip(texts(inputs["overlay_ids"].numpy()), inputs["overlay_vectors"].numpy().tolist()))
    assert {item: tuple(vector) for item, vector in kept.items()} == LATER


def test_an_unknown_column_is_named_before_anything_serves(shop_root, tmp_path, capsys):
    command = ["serve", str(shop_root), "--category-means", "kategory"]
    assert main([*command, "--items-log", str(tmp_path)]) == 1
    assert "items have no attribute `kategory`. Did you mean `category`?" in capsys.readouterr().err
    assert main(command) == 1
    assert "needs --items-log" in capsys.readouterr().err


def test_means_of_unit_vectors_are_unit_vectors():
    angles = np.radians([0, 60, 120, 180])
    root = types.SimpleNamespace(
        item_ids=tf.Variable(list("abcd")),
        vectors=tf.Variable(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)),
        log_popularity=tf.Variable(np.log(np.array([3, 2, 4, 1], np.float32) / 10)),  # of six events; `d` had none
    )
    table = pa.table({"item_id": list("abcd"), "shelves": [[1], [1, 2], [2], [1, 2, 3]]})
    means = CategoryVectors(Catalogue(root, table, events=6), "shelves")
    changed = [
        {"item_id": "x", "shelves": [1]}, {"item_id": "y", "shelves": [2, 7]}, {"item_id": "z", "shelves": [3]},
        {"item_id": "a", "shelves": [2]}, {"item_id": "d", "shelves": [1]},
    ]
    vectors = np.full((5, 2), 9, np.float32)
    means.put(changed, vectors)
    kept, first, second = [9, 9], [np.cos(np.pi / 6), 0.5], [0, 1]  # the means stand at 30 and 90 degrees
    np.testing.assert_allclose(vectors, [first, second, kept, kept, first], atol=1e-6)
