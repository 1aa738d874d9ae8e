"""Item events against a real export: in the next answer, out of it at once, and there again after a restart."""

import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from tests.hostile_ids import HOSTILE
from tfrs_twotower import columns as c
from tfrs_twotower.errors import DataError, IndexingError
from tfrs_twotower.exporting import Retriever, manifest, signatures
from tfrs_twotower.freshness import FreshItems
from tfrs_twotower.freshness.attached import _fits
from tfrs_twotower.ids import is_missing_id
from tfrs_twotower.online import StoreError
from tfrs_twotower.serving.loading import load

QUERY = {"vector": np.array([[1.0, 1.0]], np.float32)}


class Query(tf.Module):
    """Its raw feature is its vector."""

    user_table = None

    def inputs(self):
        return {"vector": tf.TensorSpec([None, 2], tf.float32)}

    def encode(self, raw):
        return raw

    def __call__(self, encoded, training=False):
        return encoded["vector"]


class Candidate(Query):
    """The vector of an item is (factor · its price, how many tags it has)."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def inputs(self):
        return {
            c.ITEM_ID: tf.TensorSpec([None], tf.string), "price": tf.TensorSpec([None], tf.float32),
            "tags": tf.TensorSpec([None, None], tf.string),
        }

    def __call__(self, encoded, training=False):
        price = tf.where(tf.math.is_nan(encoded["price"]), 0.0, encoded["price"])
        tags = tf.reduce_sum(tf.cast(encoded["tags"] != "", tf.float32), axis=1)
        return tf.stack([self.factor * price, tags], axis=1)


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Two loaded versions over the items a, b and c with the prices 1, 2 and 3; the second doubles prices."""
    loaded = []
    for factor in (1.0, 2.0):
        folder = tmp_path_factory.mktemp("export")
        vectors = factor * np.array([[1, 0], [2, 0], [3, 0]], np.float32)
        ids = np.array(["a", "b", "c"], object)
        retriever = Retriever(Query(), Candidate(factor), vectors, ids, None, 0.5, np.log([0.5, 0.3, 0.2], dtype="f"))
        tf.saved_model.save(retriever, str(folder), signatures(retriever))
        manifest.write(folder, {"embedding_space": f"space {factor}"})
        loaded.append(load(str(folder), int(factor), manifest.read(folder)))
    return loaded


@pytest.fixture
def fresh(tmp_path, versions):
    fresh = FreshItems(tmp_path)
    fresh.attach(versions[0])
    yield fresh
    fresh.close()


def answer(fresh, model, k=9):
    """{item: ⟨u, v⟩} by `recommend_fresh`, which has to agree with the vectors of the items that it may return."""
    signature = model.signature("recommend_fresh")
    found = signature({"vector": tf.constant(QUERY["vector"]), c.K: tf.constant(k), **fresh.items(model).inputs})
    ids, scores = found[c.IDS].numpy()[0], found[c.SCORES].numpy()[0]
    served = {i.decode(): float(s) / 2 for i, s in zip(ids, scores) if i}
    items = fresh.items(model)
    there = items.catalogue.ids[items.exported].tolist() + items.overlay_ids
    direct = sorted(zip((items.vectors(there) @ QUERY["vector"][0]).tolist(), there), reverse=True)
    assert {item: score for score, item in direct[:k]} == served
    return served


def test_new_edited_and_withdrawn_items(fresh, versions):
    model = versions[0]
    assert answer(fresh, model) == {"c": 3, "b": 2, "a": 1}
    fresh.change([{"item_id": "new", "price": 5, "tags": ["x", "y"]}, {"item_id": "b", "price": 0.5}])
    assert answer(fresh, model) == {"new": 7, "c": 3, "a": 1, "b": 0.5}
    fresh.withdraw(["new", "c", "never seen"])
    assert answer(fresh, model) == {"a": 1, "b": 0.5}
    fresh.change([{"item_id": "c", "tags": None}, {"item_id": "new", "price": 1.5}])
    assert answer(fresh, model) == {"new": 1.5, "a": 1, "b": 0.5, "c": 0}
    assert answer(fresh, model, k=1) == {"new": 1.5}


def test_an_item_named_twice_is_as_new_as_its_last_change(fresh, versions):
    fresh.change([{"item_id": "x", "price": 1}, {"item_id": "y", "price": 2}, {"item_id": "x", "price": 3}])
    assert answer(fresh, versions[0])["x"] == 3
    assert fresh.items(versions[0]).newest[:2] == ["x", "y"]


def test_a_restart_and_another_version_know_all_events(fresh, versions, tmp_path):
    fresh.change([{"item_id": "né", "price": 4}, {"item_id": "b", "price": 7}])
    fresh.withdraw(["a", "gone"])
    fresh.change([{"item_id": "gone", "price": 9}])
    fresh.withdraw(["gone"])
    before = answer(fresh, versions[0])
    assert before == {"b": 7, "né": 4, "c": 3}
    fresh.attach(versions[1])
    assert answer(fresh, versions[1]) == {"b": 14, "né": 8, "c": 6} and answer(fresh, versions[0]) == before
    fresh.detach(versions[0])
    with pytest.raises(IndexingError, match="not attached"):
        fresh.items(versions[0])
    for _ in range(2):
        fresh.withdraw(["c"])
        fresh.close()
        fresh = FreshItems(tmp_path)
        fresh.attach(versions[0])
        assert answer(fresh, versions[0]) == {"b": 7, "né": 4}
    fresh.close()


def test_an_event_that_a_version_cannot_read_is_left_out_alone(versions, tmp_path, caplog):
    fresh = FreshItems(tmp_path)  # no version is attached that could check
    fresh.change([{"item_id": "new", "price": 5}, {"item_id": "b", "price": "dear"}, {"item_id": "odd", "tags": "x"}])
    fresh.withdraw(["a"])
    fresh.attach(versions[0])
    assert answer(fresh, versions[0]) == {"new": 5, "c": 3, "b": 2}
    lines = [record.message for record in caplog.records]
    assert len(lines) == 2 and "Version 1 leaves out a kept event. Item 'b': `price` must be float32" in lines[0]
    assert "Item 'odd': `tags` must be a list of string" in lines[1] and "Send the item again." in lines[1]
    fresh.change([{"item_id": "b", "price": 7}])
    assert answer(fresh, versions[0]) == {"b": 7, "new": 5, "c": 3}
    fresh.close()


def test_ids_that_look_like_code_come_and_go_and_no_other_with_them(fresh, versions, tmp_path):
    ids = [item for item in HOSTILE if not is_missing_id(item)]
    fresh.change([{"item_id": item, "price": 10 + place} for place, item in enumerate(ids) if item != "b"])
    new = {item: 10 + place for place, item in enumerate(ids) if item != "b"}
    assert answer(fresh, versions[0], 99) == {**new, "c": 3, "b": 2, "a": 1}
    for item in ids[::2]:
        fresh.withdraw([item])
        new.pop(item, None)
        assert item not in answer(fresh, versions[0], 99)
    left = {**new, "c": 3, "a": 1, **({} if "b" in ids[::2] else {"b": 2})}
    assert answer(fresh, versions[0], 99) == left
    fresh.close()
    again = FreshItems(tmp_path)
    again.attach(versions[0])
    assert answer(again, versions[0], 99) == left
    again.close()


def test_inputs_are_made_once_for_a_change(fresh, versions):
    first = fresh.items(versions[0])
    assert fresh.items(versions[0]) is first and first.inputs is first.inputs
    fresh.withdraw(["a"])
    assert first.inputs[c.WITHDRAWN_IDS].numpy().tolist() == []  # as it was
    assert fresh.items(versions[0]).inputs[c.WITHDRAWN_IDS].numpy().tolist() == [b"a"]


REFUSED = [
    ([{"price": 1}], r"`changed\[1\]` must be an object with `item_id`"),
    (["a"], r"`changed\[1\]` must be an object"),
    ([{"item_id": 7}], r"`changed\[1\].item_id` must be text in UTF-8, not empty. Received: .*=7\. Send the id"),
    ([{"item_id": "-1"}], r"`changed\[1\].item_id` must be no missing id. Received: .*='-1'"),
    ([{"item_id": ""}], r"`changed\[1\].item_id` must be text in UTF-8, not empty"),
    ([{"item_id": "x" * 513}], "at most 512 bytes"),
    ([{"item_id": "x", "price": "dear"}], "Item 'x': `price` must be float32"),
    ([{"item_id": "x", "price": True}], "`price` must be float32"),
    ([{"item_id": "x", "price": [1]}], "`price` must be float32"),
    ([{"item_id": "x", "tags": "red"}], "`tags` must be a list of string"),
    ([{"item_id": "x", "tags": [1]}], "`tags` must be a list of string"),
    ([{"item_id": "x", "price": 1e39}], "`price` must be float32"),
    ([{"item_id": "x", "price": float("nan")}], "`price` must be float32"),
    ([{"item_id": "x", "prise": 1}], r"changed\[1\]: no version .* feature `prise` of items. Did you mean `price`\?"),
    ([{"item_id": "x", "zzz": 1}], "Known: `item_id`, `price`, `tags`."),
]


def test_a_refused_event_changes_nothing(fresh, versions, tmp_path):
    for items, message in REFUSED:
        with pytest.raises(DataError, match=message):
            fresh.change([{"item_id": "good", "price": 9}, *items])
    assert answer(fresh, versions[0]) == {"c": 3, "b": 2, "a": 1}
    fresh.close()
    again = FreshItems(tmp_path)
    again.attach(versions[0])
    assert answer(again, versions[0]) == {"c": 3, "b": 2, "a": 1}
    again.close()


@pytest.mark.parametrize("value, fits", [(2**63 - 1, True), (2**63, False), (-2**63, True), (-2**63 - 1, False)])
def test_a_number_beyond_64_bits_is_none(value, fits):
    assert _fits(value, tf.int64) is fits


def test_a_vector_that_is_not_finite_is_refused_for_every_version(fresh, versions):
    fresh.attach(versions[1])  # it doubles the price, beyond float32
    with pytest.raises(DataError, match="vector of item 'x' is not finite"):
        fresh.change([{"item_id": "x", "price": 3e38}])
    assert fresh.items(versions[0]).overlay_ids == fresh.items(versions[1]).overlay_ids == []


def test_events_before_any_version_are_kept(tmp_path, versions):
    fresh = FreshItems(tmp_path)
    fresh.change([{"item_id": "early", "price": 4}])
    fresh.withdraw(["a"])
    fresh.attach(versions[0])
    assert answer(fresh, versions[0]) == {"early": 4, "c": 3, "b": 2}
    fresh.close()


@pytest.mark.parametrize("value", [{1, 2}, float("nan")])
def test_what_is_no_json_is_refused_before_any_version_too(tmp_path, value):
    fresh = FreshItems(tmp_path)
    with pytest.raises(DataError, match="must be JSON"):
        fresh.change([{"item_id": "x", "other": value}])
    fresh.close()


def test_killed_between_events_it_has_all_that_were_acknowledged(tmp_path, versions):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            fresh = FreshItems(tmp_path)
            for n in range(100_000):
                fresh.change([{"item_id": f"i{n % 5}", "price": n}])
                os.write(writing, f"{n}\n".encode())
        finally:
            os._exit(1)
    os.close(writing)
    output = os.fdopen(reading)
    lines = [output.readline() for _ in range(30)]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    last = max(int(line) for line in lines + output.read().split("\n") if line.strip())
    fresh = FreshItems(tmp_path)
    fresh.attach(versions[0])
    found = answer(fresh, versions[0], k=5)
    fresh.close()
    whole = [{float(n) for n in range(end - 4, end + 1)} for end in (last, last + 1)]
    assert set(found.values()) in whole and set(found) == {f"i{n}" for n in range(5)}


def test_ids_of_another_type_are_refused(tmp_path, versions):
    fresh = FreshItems(tmp_path, id_type=int)
    with pytest.raises(IndexingError, match="`model` must have int ids"):
        fresh.attach(versions[0])
    fresh.close()
    with pytest.raises(StoreError, match="'ids': 'int'"):
        FreshItems(tmp_path)
