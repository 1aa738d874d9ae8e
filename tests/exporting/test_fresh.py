"""Fresh and withdrawn items as inputs of a saved model: exactly what an index over the changed catalogue gives."""

import numpy as np
import pytest
import tensorflow as tf

from tests.exporting.given import DIM, Given, unit
from tests.items_in_memory import ItemsInMemory
from tfrs_twotower import columns as c
from tfrs_twotower import extras
from tfrs_twotower.exporting import Retriever, signatures
from tfrs_twotower.features import fingerprints
from tfrs_twotower.index import IVF, Exact, ScaNN

LOWEST = tf.float32.min
ITEMS = 300
INDEXES = {
    "exact": Exact,
    "approximate": lambda vectors: (
        ScaNN(vectors, leaves=8, leaves_to_search=8) if extras.available("scann") else IVF(vectors, leaves=8, probes=8)
    ),
}


@pytest.fixture(scope="module", params=INDEXES)
def served(request, tmp_path_factory):
    vectors, ids = unit(ITEMS, seed=1), np.array([f"i{n}" for n in range(ITEMS)], object)
    popularity = np.log(np.arange(1, ITEMS + 1) / 100).astype(np.float32)
    retriever = Retriever(Given(), Given(), vectors, ids, INDEXES[request.param](vectors), 0.05, popularity)
    folder = str(tmp_path_factory.mktemp(request.param))
    options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
    tf.saved_model.save(retriever, folder, signatures(retriever), options)
    return tf.saved_model.load(folder)


@pytest.fixture(scope="module")
def features():
    return {"vector": tf.constant(unit(6, seed=2))}


def catalogue(served):
    return ItemsInMemory([item.decode() for item in served.item_ids.numpy()], served.vectors.numpy())


@pytest.fixture(scope="module")
def index(served):
    """The export's catalogue, changed: two items moved, two withdrawn, three new ones, one of them gone again."""
    index = catalogue(served)
    index.upsert(["i3", "i4", "new 1", "né", "gone"], unit(5, seed=3))
    index.delete(["gone", "i7", "i8"])
    return index


def changes(index):
    ids, vectors, gone = index.changed()
    return {
        c.OVERLAY_IDS: tf.constant(ids), c.OVERLAY_VECTORS: tf.constant(vectors),
        c.WITHDRAWN_IDS: tf.constant(gone, tf.string),
    }


NOTHING = {
    c.OVERLAY_IDS: tf.zeros([0], tf.string),
    c.OVERLAY_VECTORS: tf.zeros([0, DIM]),
    c.WITHDRAWN_IDS: tf.zeros([0], tf.string),
}


def ask(served, first, k=10, exclude=(), allow=(), beta=0.0, signature="recommend_fresh", **inputs):
    """(ids, scores) as NumPy; the lists of ids hold for every query."""
    lists = {c.EXCLUDE_IDS: exclude, c.ALLOW_IDS: allow}
    answer = served.signatures[signature](
        **first, **{name: tf.reshape(tf.constant(list(ids), tf.string), [1, -1]) for name, ids in lists.items()},
        **{c.K: tf.constant(k), c.POPULARITY_BETA: tf.constant(beta)}, **inputs,
    )
    ids = np.array([[i.decode() for i in row] for row in answer[c.IDS].numpy().tolist()], object)
    return ids, answer[c.SCORES].numpy()


def expected(served, index, features, k):
    queries = served.signatures["embed_query"](**features)[c.EMBEDDING].numpy()
    found = index.search(queries, k)
    return found.ids, found.scores * served.scale.numpy()


@pytest.mark.parametrize("k", [1, 10, ITEMS])
def test_it_answers_as_the_changed_index_does(served, index, features, k):
    ids, scores = ask(served, features, k, **changes(index))
    wanted_ids, wanted_scores = expected(served, index, features, k)
    assert ids.tolist() == wanted_ids.tolist()
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("k", [1, 10, 90])
def test_most_of_the_catalogue_may_be_changed(served, features, k, ordered):
    """The order of the fresh items changes nothing."""
    index = catalogue(served)
    index.upsert([f"i{n}" for n in range(150)] + ["new"], unit(151, seed=4))
    index.delete([f"i{n}" for n in range(140, 260)])
    changed = changes(index)
    if ordered:
        order = tf.argsort(fingerprints(changed[c.OVERLAY_IDS]))
        changed.update({name: tf.gather(changed[name], order) for name in (c.OVERLAY_IDS, c.OVERLAY_VECTORS)})
    ids, scores = ask(served, features, k, **changed)
    wanted_ids, wanted_scores = expected(served, index, features, k)
    assert ids.tolist() == wanted_ids.tolist()
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-5, atol=1e-5)
    first, all_but_first = ids[0, :1].tolist(), expected(served, index, features, k + 1)[0]
    ids, _ = ask(served, features, k, exclude=first, **changed)
    assert ids.tolist() == [[i for i in row if i not in first][:k] for row in all_but_first]


@pytest.mark.parametrize("k", [1, 10, 40])
def test_most_of_the_catalogue_may_be_withdrawn(served, features, k):
    """Then the index finds too few that are not hidden, and nothing fresh stands in for them."""
    index = catalogue(served)
    index.upsert(["new"], unit(1, seed=4))
    index.delete([f"i{n}" for n in range(260)])
    ids, scores = ask(served, features, k, **changes(index))
    wanted_ids, wanted_scores = expected(served, index, features, k)
    assert ids.tolist() == wanted_ids.tolist()
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-5, atol=1e-5)


def test_k_above_all_gives_all_then_nothing(served, index, features):
    ids, scores = ask(served, features, 500, **changes(index))
    assert ids.shape == (6, ITEMS + 4) and len(index) == ITEMS  # two new, two withdrawn
    wanted_ids, _ = expected(served, index, features, ITEMS)
    assert ids[:, :ITEMS].tolist() == wanted_ids.tolist()
    assert (ids[:, ITEMS:] == "").all() and (scores[:, ITEMS:] == LOWEST).all()


def test_by_vector_it_answers_the_same(served, index, features):
    embedding = served.signatures["embed_query"](**features)
    ids, scores = ask(served, embedding, signature="recommend_fresh_by_vector", **changes(index))
    whole_ids, whole_scores = ask(served, features, **changes(index))
    assert ids.tolist() == whole_ids.tolist()
    np.testing.assert_allclose(scores, whole_scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("filters", [{}, {"exclude": ["i1", "i2"]}, {"allow": ["i1", "i5"]}, {"beta": 1.0}, {"k": 200}])
def test_without_changes_it_answers_as_ever(served, features, filters):
    ids, scores = ask(served, features, **filters, **NOTHING)
    wanted_ids, wanted_scores = ask(served, features, signature="serving_default", **filters)
    assert ids.tolist() == wanted_ids.tolist()
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-5, atol=1e-5)


def test_filters_hold_for_fresh_items_too(served, index, features):
    changed = changes(index)
    best = ask(served, features, ITEMS, **changed)[0]
    ids, _ = ask(served, features, 5, exclude=["né", "i3", "never seen", ""], **changed)
    assert ids.tolist() == [[i for i in row if i not in ("né", "i3")][:5] for row in best]
    ids, scores = ask(served, features, 5, allow=["né", "i4", "i9", "i7", "never seen"], **changed)
    assert ids.tolist() == [[i for i in row if i in ("né", "i4", "i9")] + ["", ""] for row in best]
    assert (scores[:, 3:] == LOWEST).all()
    ids, _ = ask(served, features, 5, allow=["never seen"], **changed)
    assert (ids == "").all()


def test_withdrawn_comes_before_fresh_and_padding_is_no_item(served, index, features):
    changed = changes(index)
    changed[c.WITHDRAWN_IDS] = tf.constant(["né", "i4", "", "never seen"])
    changed[c.OVERLAY_IDS] = tf.concat([changed[c.OVERLAY_IDS], ["", "broken"]], axis=0)
    odd = np.array([[9.0], [np.nan]]) * np.ones((1, DIM))
    changed[c.OVERLAY_VECTORS] = tf.concat([changed[c.OVERLAY_VECTORS], odd], axis=0)
    ids, scores = ask(served, features, 500, **changed)
    assert not {"né", "i4", "broken"} & set(ids.ravel()) and "new 1" in ids and "i7" in ids
    assert np.isfinite(scores).all() and ((ids == "") == (scores == LOWEST)).all()
    assert (np.diff(scores, axis=1) <= 0).all()


def test_beta_counts_a_new_item_as_the_median_one(served, index, features):
    plain = [dict(zip(*row)) for row in zip(*ask(served, features, ITEMS, **changes(index)))]
    shifted = [dict(zip(*row)) for row in zip(*ask(served, features, ITEMS, beta=2.0, **changes(index)))]
    popularity = dict(zip([i.decode() for i in served.item_ids.numpy()], served.log_popularity.numpy()))
    for before, after in zip(plain, shifted):
        assert set(before) == set(after)
        for item, score in after.items():
            log_p = popularity.get(item, np.median(list(popularity.values())))
            np.testing.assert_allclose(score, before[item] - 2.0 * log_p, rtol=1e-4, atol=1e-4)


def test_ids_and_vectors_that_do_not_agree_are_refused(served, features):
    with pytest.raises(tf.errors.InvalidArgumentError, match="a row for each id"):
        ask(served, features, **{**NOTHING, c.OVERLAY_IDS: tf.constant(["a"])})


def test_an_empty_batch(served, index, features):
    ids, scores = ask(served, {name: values[:0] for name, values in features.items()}, 4, **changes(index))
    assert ids.size == 0 and scores.shape == (0, 4)


def test_searches_of_changed_catalogues_share_the_part_of_the_overlay():
    """It is most of their graph, which an export writes and a server loads."""
    vectors, ids = unit(20, seed=1), np.array([f"i{n}" for n in range(20)], object)
    found = signatures(Retriever(Given(), Given(), vectors, ids, None, 0.05, np.zeros(20, np.float32)))
    parts = {
        function.signature.name for name in (c.RECOMMEND_FRESH_BY_VECTOR, c.RECOMMEND_FOUND_BY_VECTOR)
        for function in found[name].get_concrete_function().graph.as_graph_def().library.function
        if "overlay" in function.signature.name
    }
    assert len(parts) == 1
