"""What every CandidateIndex must do. A new kind is added to KINDS and gets the whole suite."""

import importlib

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower import extras
from tfrs_twotower.errors import IndexingError
from tfrs_twotower.index import IVF, CandidateIndex, Exact, FaissHNSW, FaissIVF, FaissIVFPQ, ScaNN

DIM = 8
KINDS = {
    "exact": Exact,
    "ivf": lambda vectors: IVF(vectors, leaves=40, probes=12),
    "scann": lambda vectors: ScaNN(vectors, leaves=40, leaves_to_search=12, reorder=100),
}
FAISS = {
    "faiss_ivf": lambda vectors: FaissIVF(vectors, leaves=40, probes=12),
    "faiss_ivfpq": lambda vectors: FaissIVFPQ(vectors, leaves=40, probes=12, reorder=200),
    "faiss_hnsw": lambda vectors: FaissHNSW(vectors, build_width=60, width=100),
}
IN_GRAPHS = tuple(KINDS)  # these live in graphs and SavedModels; the others are NumPy in and out
PORTABLE = ("exact", "ivf")
KINDS.update(FAISS)


def unit(rows, seed=0, dim=DIM):
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def argsorted(vectors, queries, k):
    """The right answer: rows by descending score, the lower row first among equals."""
    return np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :k]


@pytest.fixture(params=KINDS, scope="module")
def kind(request):
    return _installed(request.param)


def _installed(kind):
    package = kind.partition("_")[0]
    if package in ("scann", "faiss") and not extras.available(package):
        pytest.skip(f"{package} is not installed")
    return kind


@pytest.fixture(scope="module")
def vectors():
    return unit(1000)


@pytest.fixture(scope="module")
def index(kind, vectors):
    return KINDS[kind](vectors)


@pytest.fixture(params=IN_GRAPHS, scope="module")
def graph_index(request, vectors):
    return KINDS[_installed(request.param)](vectors)


class Served(tf.Module):
    """An index behind a signature, as an export holds it."""

    def __init__(self, index):
        super().__init__()
        self.index = index

    @tf.function(input_signature=[tf.TensorSpec([None, DIM], tf.float32), tf.TensorSpec([], tf.int32)])
    def search(self, queries, k):
        found = self.index.search(queries, k)
        return {"scores": found.scores, "rows": found.rows}


def test_is_a_candidate_index(index, vectors):
    assert isinstance(index, CandidateIndex)
    assert isinstance(index, tf.Module) == (index.settings()["kind"] in IN_GRAPHS)
    assert (index.size, index.dim) == vectors.shape
    assert index.settings()["kind"] in KINDS and index.settings()["size"] == len(vectors)


def test_planted_answers_come_first(index, vectors):
    found = index.search(vectors[:50], 5)
    np.testing.assert_array_equal(found.rows[:, 0], np.arange(50))
    np.testing.assert_allclose(found.scores[:, 0], 1, atol=1e-5)


def test_shapes_types_order_and_true_scores(index, vectors):
    queries = unit(7, seed=1)
    found = index.search(queries, 10)
    assert found.scores.shape == found.rows.shape == (7, 10)
    assert (tf.as_dtype(found.scores.dtype), tf.as_dtype(found.rows.dtype)) == (tf.float32, tf.int32)
    assert np.all(np.diff(found.scores, axis=1) <= 0)
    assert all(len(set(row)) == 10 for row in np.asarray(found.rows))
    np.testing.assert_allclose(
        found.scores, np.einsum("qkd,qd->qk", vectors[np.asarray(found.rows)], queries), atol=1e-5
    )


def test_a_batch_equals_single_queries(index):
    queries = unit(9, seed=2)
    batch = index.search(queries, 10)
    single = [index.search(queries[i:i + 1], 10) for i in range(9)]
    np.testing.assert_array_equal(batch.rows, np.concatenate([s.rows for s in single]))
    np.testing.assert_allclose(batch.scores, np.concatenate([s.scores for s in single]), atol=1e-6)


def test_an_empty_batch(index):
    found = index.search(np.zeros((0, DIM), np.float32), 3)
    assert found.rows.shape == found.scores.shape == (0, 3)


def test_k_above_the_catalogue_gives_every_candidate_then_nothing(index, vectors):
    queries = unit(3, seed=3)
    found = index.search(queries, 1100)
    np.testing.assert_array_equal(np.sort(found.rows[:, :1000], axis=1), np.tile(np.arange(1000), (3, 1)))
    assert np.all(found.rows[:, 1000:] == -1) and np.all(np.isneginf(found.scores[:, 1000:]))
    expected = -np.sort(-(queries @ vectors.T), axis=1)
    np.testing.assert_allclose(found.scores[:, :1000], expected, atol=1e-5)


def test_k_above_the_reordering_still_gives_k_columns(index):
    found = index.search(unit(4, seed=4), 150)
    assert np.all(np.asarray(found.rows) >= 0)
    assert all(len(set(row)) == 150 for row in np.asarray(found.rows))


@pytest.mark.parametrize("name", ["ivf", "scann"])
def test_what_an_approximate_search_does_not_find_is_missing(name, vectors, monkeypatch):
    """One leaf a query is searched, leaves differ in size, and the batch mixes full and short answers."""
    if name == "scann" and not extras.available("scann"):
        pytest.skip("scann has no wheel for this system")
    monkeypatch.setattr(importlib.import_module(f"tfrs_twotower.index.{name}"), "probes_for", lambda *_: 1)
    queries = vectors[:30]
    found = KINDS[name](vectors).search(queries, 40)
    rows, scores = np.asarray(found.rows), np.asarray(found.scores)
    sizes = (rows >= 0).sum(axis=1)
    assert sizes.min() >= 1 and len(set(sizes)) > 3 and sizes.min() < 40
    np.testing.assert_array_equal(np.isneginf(scores), rows == -1)
    np.testing.assert_array_equal(rows[:, 0], np.arange(30))
    for i, size in enumerate(sizes):
        assert np.all(rows[i, size:] == -1) and len(set(rows[i, :size])) == size
        np.testing.assert_allclose(scores[i, :size], vectors[rows[i, :size]] @ queries[i], atol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 15, 17, 30, 300])
def test_fewer_candidates_than_leaves_or_than_scann_can_train_on(kind, rows):
    vectors, queries = unit(rows, seed=5), unit(4, seed=6)
    found = KINDS[kind](vectors).search(queries, rows + 2)
    np.testing.assert_array_equal(found.rows[:, :rows], argsorted(vectors, queries, rows))
    assert np.all(found.rows[:, rows:] == -1)


@pytest.mark.parametrize("dim", [1, 3])
def test_odd_dimensions(kind, dim):
    vectors = np.random.default_rng(7).normal(size=(600, dim)).astype(np.float32)
    queries = np.ones((1, dim), np.float32)
    found = KINDS[kind](vectors).search(queries, 200)
    np.testing.assert_array_equal(found.rows, argsorted(vectors, queries, 200))


def test_duplicates_are_all_found(kind):
    vectors = unit(600, seed=8)
    vectors[100:130] = vectors[0]
    found = KINDS[kind](vectors).search(vectors[:1], 31)
    assert set(np.asarray(found.rows)[0]) == {0, *range(100, 130)}


def test_only_duplicates(kind):
    vectors = np.tile(unit(1, seed=9), (400, 1))
    found = KINDS[kind](vectors).search(vectors[:1], 60)
    assert len(set(np.asarray(found.rows)[0]) - {-1}) == 60
    np.testing.assert_allclose(found.scores, 1, atol=1e-5)


def test_zero_vectors_score_zero(kind):
    vectors = -np.abs(unit(600, seed=10))
    vectors[[7, 300]] = 0
    found = KINDS[kind](vectors).search(np.ones((1, DIM), np.float32), 600)
    assert set(np.asarray(found.rows)[0, :2]) == {7, 300}
    np.testing.assert_array_equal(np.abs(found.scores[0, :2]), 0)
    nothing = KINDS[kind](vectors).search(np.zeros((1, DIM), np.float32), 5)
    np.testing.assert_array_equal(np.abs(nothing.scores), 0)


def test_only_zero_vectors(kind):
    found = KINDS[kind](np.zeros((400, DIM), np.float32)).search(unit(2), 50)
    assert all(len(set(row)) == 50 and min(row) >= 0 for row in np.asarray(found.rows))


def test_one_traced_function_serves_every_k(graph_index):
    served, queries = Served(graph_index), unit(5, seed=11)
    for k in (1, 10, 150, 1001):
        found = served.search(queries, k)
        direct = graph_index.search(queries, k)
        assert found["rows"].shape == (5, k)
        np.testing.assert_array_equal(found["rows"], direct.rows)
        np.testing.assert_allclose(found["scores"], direct.scores, atol=1e-6)
    assert served.search.experimental_get_tracing_count() == 1


def test_static_shape_is_known_where_k_is(graph_index):
    function = tf.function(lambda q: graph_index.search(q, 4)).get_concrete_function(tf.TensorSpec([None, DIM]))
    assert [s.as_list() for s in function.output_shapes] == [[None, 4], [None, 4]]


def test_saved_model_round_trip_is_identical(graph_index, tmp_path):
    served, queries = Served(graph_index), unit(6, seed=12)
    options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
    tf.saved_model.save(served, str(tmp_path), options=options)
    loaded = tf.saved_model.load(str(tmp_path))
    for k in (5, 1100):
        before, after = served.search(queries, k), loaded.search(queries, k)
        np.testing.assert_array_equal(before["rows"], after["rows"])
        np.testing.assert_array_equal(before["scores"], after["scores"])


@pytest.mark.parametrize("name", PORTABLE)
def test_a_portable_index_needs_no_custom_op(name, vectors):
    served = Served(KINDS[name](vectors))
    graph = served.search.get_concrete_function().graph.as_graph_def()
    ops = {node.op for node in graph.node} | {n.op for f in graph.library.function for n in f.node_def}
    assert len(ops) > 10
    assert not [op for op in ops if ">" in op]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused(kind, value):
    vectors = unit(300)
    vectors[42, 3] = value
    with pytest.raises(IndexingError, match="`vectors` must be finite.*1 rows.*first row 42"):
        KINDS[kind](vectors)


@pytest.mark.parametrize("shape", [(0, 8), (8,), (3, 0), (2, 3, 4)])
def test_vectors_of_another_shape_are_refused(kind, shape):
    with pytest.raises(IndexingError, match="`vectors` must be a matrix"):
        KINDS[kind](np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(2, DIM + 1), (DIM,), (1, 1, DIM)])
def test_queries_of_another_shape_are_refused(index, shape):
    with pytest.raises(IndexingError, match=r"`queries` must have shape \[batch, 8\]"):
        index.search(np.zeros(shape, np.float32), 1)


@pytest.mark.parametrize("k", [0, -1, 2.5])
def test_k_must_be_a_positive_integer(index, k):
    with pytest.raises(IndexingError, match="`k` must be an integer of at least 1"):
        index.search(unit(1), k)


def test_k_must_be_positive_in_a_graph(graph_index):
    served = Served(graph_index)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least 1"):
        served.search(unit(1), 0)


def test_exact_equals_argsort_with_ties_by_row():
    vectors = np.random.default_rng(13).integers(-2, 3, size=(1000, DIM)).astype(np.float32)
    queries = np.random.default_rng(14).integers(-2, 3, size=(20, DIM)).astype(np.float32)
    found = Exact(vectors).search(queries, 300)
    np.testing.assert_array_equal(found.rows, argsorted(vectors, queries, 300))
