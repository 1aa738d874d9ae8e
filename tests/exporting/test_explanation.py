"""Shares of a score: by hand on a made-up query, and recomputed on a real linear tower."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import toy

from tfrs_twotower import columns as c
from tfrs_twotower.data import Frames, ingest
from tfrs_twotower.errors import DataError
from tfrs_twotower.exporting import signatures
from tfrs_twotower.exporting.explanation import Items, explain, without_event
from tfrs_twotower.features import History, Id, Schema
from tfrs_twotower.ids import missing_id
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.pipeline.explaining import explained
from tfrs_twotower.pipeline.requests import live_requests
from tfrs_twotower.pipeline.searching import retriever
from tfrs_twotower.recipe import ModelConfig
from tfrs_twotower.towers import MLP

PAST = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.0, 0.0]}
FEATURES = {
    c.HISTORY_ITEM_ID: tf.constant([["a", "", "b", "a"]]), c.HISTORY_TIMESTAMP: tf.constant([[1, 0, 2, 3]], tf.int64),
    "age": tf.constant([2.0]),
}
# One item of the vector (3, 1), where the average item has (1, 1): only the first dimension counts, twice.
ITEMS = Items(np.array([[3.0, 1.0]]), np.array([-1.0]), np.array([np.nan]), np.array([1.0, 1.0]), -3.0)


def embed(features):
    """[number of events of "a", age]; an unknown age counts as 0."""
    hits = tf.reduce_sum(tf.cast(features[c.HISTORY_ITEM_ID] == "a", tf.float32), axis=1)
    return tf.stack([hits, tf.where(tf.math.is_nan(features["age"]), 0.0, features["age"])], axis=1)


def run(name, features):
    if name == c.EMBED_QUERY:
        return {c.EMBEDDING: embed(features)}
    assert name == c.QUERY_PARTS
    events = tf.cast(features[c.HISTORY_ITEM_ID] == "a", tf.float32)[..., tf.newaxis] * [1.0, 0.0]
    return {c.HISTORY_ITEM_ID: events, "age": tf.stack([0 * features["age"], features["age"]], axis=1)}


@pytest.mark.parametrize("exact", [True, False])
def test_shares_by_hand(exact):
    (one,) = explain(run, FEATURES, ITEMS, 10.0, 0.5, 2, None, exact)
    assert dict(one.events) == {3: 20, 0: 20, 2: 0}  # 10 · 1 · (3 − 1) for each event of "a"
    assert one.features == {"age": 0} and one.popularity == 1 and one.rest == 0
    assert one.base == 10 * (2 + 2) - 1.5
    assert one.score == 10 * (2 * 3 + 2 * 1) - 0.5 == one.base + one.popularity + 40
    (told,) = explain(run, FEATURES, dataclasses.replace(ITEMS, scores=np.array([84.5])), 10.0, 0.5, 2, None, exact)
    assert (told.score, told.repeats, told.rest) == (84.5, 0, 5)  # a reranker
    again = dataclasses.replace(ITEMS, scores=np.array([84.5]), repeats=True)
    (told,) = explain(run, FEATURES, again, 10.0, 0.5, 2, None, exact)
    assert (told.score, told.repeats, told.rest) == (84.5, 5, 0)


def test_neighbours_are_split_over_distinct_items_and_placed_at_the_newest_event():
    items = Items(np.array([[3.0, 1, 4, 2]]), np.zeros(1), np.array([np.nan]), np.array([1.0, 1, 0, 1]), 0.0)
    behind = np.array([0.6, 0.6])  # the direction of a + b

    def with_neighbours(name, features):
        vectors = run(name, features)[c.EMBEDDING]
        return {c.EMBEDDING: tf.concat([vectors, tf.constant([behind], tf.float32)], axis=1)}

    def queries(name, features):
        return with_neighbours(name, features) if name == c.EMBED_QUERY else run(name, features)

    def past(ids):
        return np.array([PAST[item.decode()] for item in ids])

    (one,) = explain(queries, FEATURES, items, 1.0, 0.0, 2, past, True)
    assert {place: pytest.approx(share) for place, share in one.events} == {3: 2 + 0.6 * 4, 0: 2, 2: 0.6 * 1}
    assert one.rest == pytest.approx(0, abs=1e-6)


def test_of_a_long_history_the_newest_hundred_events_are_left_out_one_by_one():
    batches = []

    def counted(name, features):
        batches.append(len(features["age"]))
        return run(name, features)

    long = {**FEATURES, c.HISTORY_ITEM_ID: tf.constant([["a"] * 110]), c.HISTORY_TIMESTAMP: tf.ones([1, 110], tf.int64)}
    (one,) = explain(counted, long, ITEMS, 1.0, 0.0, 2, None, False)
    assert batches == [1 + 100 + 1]
    assert [share for place, share in sorted(one.events)] == [0] * 10 + [2] * 100 and one.rest == 20


def test_parts_of_the_newest_events_find_their_places():
    """The model reads two events; the request has four, and a gap at the end."""
    query = {**FEATURES, c.HISTORY_ITEM_ID: tf.constant([["a", "b", "a", "b", ""]])}

    def two(name, features):
        parts = tf.constant([[[1.0, 0.0], [2.0, 0.0]]])
        return run(name, features) if name == c.EMBED_QUERY else {c.HISTORY_ITEM_ID: parts}

    (one,) = explain(two, query, ITEMS, 1.0, 0.0, 2, None, True)
    assert dict(one.events) == {0: 0, 1: 0, 2: 2, 3: 4}


def test_an_event_is_left_out_with_its_time():
    less = without_event(FEATURES, 2)
    assert less[c.HISTORY_ITEM_ID].numpy().tolist() == [[b"a", b"", b"a", b""]]
    assert less[c.HISTORY_TIMESTAMP].numpy().tolist() == [[1, 0, 3, -1]]
    assert less["age"].numpy().tolist() == [2.0]


@pytest.fixture(scope="module")
def linear():
    """(assembly, retriever) of an untrained pooled model on planted data, with two histories of different lengths."""
    recipe = dataclasses.replace(
        toy.recipe(), schema=Schema(
            query=(History(length=5, pooling="decay"), History(length=30), Id("user_id", dim=8)),
            candidate=(Id("item_id", dim=8),),
        ),
        model=ModelConfig(dim=8, query_encoder=MLP(widths=()), candidate_encoder=MLP(widths=())),
    )
    frames, _ = toy.planted()
    assembly = assemble(recipe, ingest(Frames(**frames))[0])
    return assembly, retriever(assembly, None)


def test_the_parts_of_a_linear_tower_are_its_vector(linear):
    assembly, retriever = linear
    features, _ = live_requests(assembly, assembly.log.users["user_id"].to_pylist()[:3])
    parts = retriever.query_parts(features)
    whole = tf.reduce_sum(parts[c.HISTORY_ITEM_ID], axis=1) + parts["id_user_id"]
    np.testing.assert_allclose(whole, retriever.embed_query(features), atol=1e-6)
    assert parts[c.HISTORY_ITEM_ID].shape == (3, 30, 8) and c.QUERY_PARTS in signatures(retriever)
    # One more, older event in the request changes nothing, as both histories are full; and a missing one at the end.
    longer = {**features, c.HISTORY_TIMESTAMP: tf.pad(features[c.HISTORY_TIMESTAMP], [[0, 0], [1, 1]])}
    ids, item = features[c.HISTORY_ITEM_ID], assembly.log.items["item_id"][:1].to_pylist()
    ends = [tf.constant([value] * 3, ids.dtype) for value in (item, [missing_id(ids.dtype)])]
    longer[c.HISTORY_ITEM_ID] = tf.concat([ends[0], ids, ends[1]], axis=1)
    again = retriever.query_parts(longer)[c.HISTORY_ITEM_ID]
    np.testing.assert_allclose(again, parts[c.HISTORY_ITEM_ID], atol=1e-6)


def test_a_user_of_the_log_is_explained_by_shares_whose_sum_is_the_score(linear):
    assembly, retriever = linear
    user, item = assembly.log.users["user_id"][0].as_py(), assembly.log.items["item_id"][3].as_py()
    found = explained(assembly, retriever, user, item, True)
    features, _ = live_requests(assembly, [user])
    score = float(retriever.score_pairs(features, tf.constant([[item]]))[0, 0])
    assert found.explanation.exact and found.explanation.score == pytest.approx(score)
    assert found.shares["share"].sum() == pytest.approx(score, abs=1e-4)
    assert found.explanation.rest == pytest.approx(0, abs=1e-4)
    assert found.shares["of"][0] == "average item" and "Without the event with " in found.sentence
    with pytest.raises(DataError, match="must be in the catalogue"):
        explained(assembly, retriever, user, 99_999 if isinstance(item, int) else "nobody's", True)
