"""What a query's past adds to the score, through every way that a saved model scores."""

import numpy as np
import pytest
import tensorflow as tf

from tests.exporting.given import Given, unit
from tfrs_twotower import columns as c
from tfrs_twotower.data import log_popularity
from tfrs_twotower.exporting import Retriever, searched_candidates, signatures
from tfrs_twotower.index import Exact, ScaNN
from tfrs_twotower.models import Repeats, repeated

ITEMS, TAU, W, OWN, DAY = 300, 0.05, 0.7, 12.0, 86_400
VECTORS, QUERIES = unit(ITEMS, seed=1), unit(3, seed=2)
IDS = np.array([f"i{n}" for n in range(ITEMS)], object)
LOG_P = log_popularity(np.random.default_rng(3).zipf(1.3, ITEMS).clip(max=10_000)).astype(np.float32)
NOW = 100 * DAY
# The newest four events count: i7 twice, one of them ten days old, which is the half-life; an item without a vector.
PAST = [["i9", "i7", "i8", "new", "i7"], ["i299", "", "", "", ""], [""] * 5]
TIMES = [[1, NOW - 10 * DAY, NOW, NOW - 10 * DAY, NOW], [NOW - 20 * DAY, -1, -1, -1, -1], [-1] * 5]
ADDED = np.zeros([3, ITEMS])
ADDED[0, 7], ADDED[0, 8], ADDED[1, 299] = 1 + np.log(2.5), 1 + np.log(2), 1 + np.log(1.25)
SCORES = QUERIES @ VECTORS.T / TAU + W * LOG_P + OWN * ADDED
SEARCHED = searched_candidates(VECTORS, LOG_P, np.float32(TAU * W)).numpy()
INDEXES = {"exact": lambda: Exact(SEARCHED),
           "scann": lambda: ScaNN(SEARCHED, leaves=4, leaves_to_search=4, reorder=ITEMS)}
HISTORY = {c.HISTORY_ITEM_ID: tf.constant(PAST), c.HISTORY_TIMESTAMP: tf.constant(TIMES, tf.int64),
           c.TIMESTAMP: tf.constant([NOW] * 3, tf.int64)}


class WithPast(Given):
    """The vector comes with the request, and so does the past."""

    def inputs(self):
        past = {c.HISTORY_ITEM_ID: tf.TensorSpec([None, None], tf.string),
                c.HISTORY_TIMESTAMP: tf.TensorSpec([None, None], tf.int64),
                c.TIMESTAMP: tf.TensorSpec([None], tf.int64)}
        return {**super().inputs(), **past}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """With an index. Without one, all is exact search, which `recommend_exact` is here too."""
    repeats = Repeats(length=4, weights=(OWN,), half_lives=(10.0,))
    retriever = Retriever(
        WithPast(), Given(), VECTORS, IDS, INDEXES["scann"](), TAU, LOG_P, popularity_weight=W, repeats=repeats
    )
    folder = str(tmp_path_factory.mktemp("repeats"))
    options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
    tf.saved_model.save(retriever, folder, signatures(retriever), options)
    return tf.saved_model.load(folder)


def ask(served, k, signature="serving_default", exclude=(), **inputs):
    key = c.EMBEDDING if signature.endswith("by_vector") else "vector"
    answer = served.signatures[signature](**{
        key: tf.constant(QUERIES), c.K: tf.constant(k), c.EXCLUDE_IDS: tf.constant([exclude], tf.string),
        c.ALLOW_IDS: tf.constant([[]], tf.string), c.POPULARITY_BETA: tf.constant(0.0), **HISTORY, **inputs,
    })
    return answer[c.IDS].numpy().astype(str), answer[c.SCORES].numpy()


def best(scores, k):
    order = np.argsort(-scores, axis=1)[:, :k]
    return IDS[order].astype(str), np.take_along_axis(scores, order, axis=1)


@pytest.mark.parametrize("signature", ["serving_default", "recommend_exact", "recommend_by_vector"])
@pytest.mark.parametrize("exclude", [(), ("i8", "i0")])
def test_the_past_is_added(served, signature, exclude):
    ids, scores = ask(served, 7, signature, exclude)
    left = SCORES.copy()
    left[:, [int(name[1:]) for name in exclude]] = -np.inf
    expected = best(left, 7)
    np.testing.assert_allclose(scores, expected[1], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(ids, expected[0])
    assert ids[0][0] == "i7"


def test_without_a_past_a_vector_is_searched_alone(served):
    empty = {c.HISTORY_ITEM_ID: tf.constant([[]], tf.string), c.HISTORY_TIMESTAMP: tf.zeros([1, 0], tf.int64),
             c.TIMESTAMP: tf.constant([0], tf.int64)}
    np.testing.assert_array_equal(
        ask(served, 7, "recommend_by_vector", **empty)[0], best(SCORES - OWN * ADDED, 7)[0]
    )


def test_pairs_have_it(served):
    given = np.array([["i7", "i8", "i299", "i0", "unknown"]] * 3)
    pairs = served.signatures["score_pairs"](
        vector=tf.constant(QUERIES), candidate_ids=tf.constant(given), **HISTORY
    )[c.SCORES].numpy()
    np.testing.assert_allclose(pairs[:, :4], SCORES[:, [7, 8, 299, 0]], rtol=1e-4, atol=1e-4)
    assert (pairs[:, 4] == tf.float32.min).all()


@pytest.mark.parametrize("signature", ["recommend_fresh", "recommend_fresh_by_vector"])
def test_changed_and_new_items_have_it_and_withdrawn_ones_do_not_return(served, signature):
    vectors = unit(2, seed=4)
    overlay = {c.OVERLAY_IDS: tf.constant(["new", "i8"]), c.OVERLAY_VECTORS: tf.constant(vectors),
               c.WITHDRAWN_IDS: tf.constant(["i7"])}
    found = dict(zip(*(part[0] for part in ask(served, ITEMS + 1, signature, **overlay))))
    expected = QUERIES[0] @ vectors.T / TAU + W * np.array([np.median(LOG_P), LOG_P[8]])
    expected += OWN * (1 + np.log([1.5, 2.0]))
    np.testing.assert_allclose([found["new"], found["i8"]], expected, rtol=1e-4)
    assert "i7" not in found


@pytest.mark.parametrize("half_life, expected", [(None, 1 + np.log(3)), (1.0, 1 + np.log(1 + 1 + 0.25))])
def test_two_events_by_hand(half_life, expected):
    codes, times = [[5, -1, 5, -1]], [[1, 0, 1 + 2 * DAY, 0]]
    for now in (0, 1 + 2 * DAY):
        found = repeated(tf.constant(codes, tf.int64), tf.constant(times, tf.int64), tf.constant([now], tf.int64),
                         half_life, 4)
        values = found.of(tf.constant([[4, 5, 6, -1]], tf.int64)).numpy()
        np.testing.assert_allclose(values, [[0, expected, 0, 0]], rtol=1e-6)


def test_an_item_counts_as_often_as_it_is_in_the_past():
    rng = np.random.default_rng(0)
    codes = rng.integers(-1, 20, [50, 30])
    zeros = tf.zeros([50, 30], tf.int64)
    found = repeated(tf.constant(codes), zeros, tf.zeros([50], tf.int64), None, 12)
    for row, values in zip(codes, found.of(tf.tile(tf.range(20, dtype=tf.int64)[tf.newaxis], [50, 1])).numpy()):
        last = np.flatnonzero(row >= 0).max(initial=-1) + 1
        newest = row[max(last - 12, 0): last]
        counts = np.bincount(newest[newest >= 0], minlength=20)
        np.testing.assert_allclose(values, np.where(counts, 1 + np.log1p(counts), 0), rtol=1e-6)


def test_an_empty_history_repeats_nothing():
    empty = repeated(tf.zeros([2, 0], tf.int64), tf.zeros([2, 0], tf.int64), tf.zeros([2], tf.int64), 10.0, 5)
    np.testing.assert_array_equal(empty.of(tf.constant([[1], [2]], tf.int64)), [[0], [0]])


@pytest.mark.parametrize("index", INDEXES)
def test_the_largest_number_is_an_id_as_any_other(index):
    """It also stands for no item behind a past: its item neither gains nor comes twice."""
    ids = np.array([*range(1, ITEMS), np.iinfo(np.int64).max])
    retriever = Retriever(
        Given(), Given(), VECTORS, ids, INDEXES[index](), TAU, LOG_P, popularity_weight=W,
        repeats=Repeats(weights=(OWN,), half_lives=(None,)),
    )
    past = {c.HISTORY_ITEM_ID: tf.constant([[2, -1, -1]], tf.int64), c.HISTORY_TIMESTAMP: tf.zeros([1, 3], tf.int64)}
    nothing = tf.zeros([1, 0], tf.int64)
    found, scores = retriever.recommend_by_vector(
        VECTORS[ITEMS - 1:], tf.constant(5), nothing, nothing, tf.constant(0.0), own=retriever.repeated(past, 1)
    )
    expected = VECTORS[ITEMS - 1:] @ VECTORS.T / TAU + W * LOG_P
    expected[0, 1] += OWN * (1 + np.log(2))
    order = np.argsort(-expected[0])[:5]
    assert ITEMS - 1 in order  # its own vector asked
    np.testing.assert_array_equal(found[0], ids[order])
    np.testing.assert_allclose(scores[0], expected[0, order], rtol=1e-3)
