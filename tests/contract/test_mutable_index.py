"""An index that changes equals one that is built anew, whatever came before, over every kind of main index.

Vectors and queries hold small integers, so that scores are exact numbers and ties are many.
"""

import threading

import numpy as np
import pytest
from flat_index import Flat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfrs_twotower import extras
from tfrs_twotower.index import IVF, Exact, FaissHNSW, FaissIVF, FaissIVFPQ, ScaNN
from tfrs_twotower.index.mutable import MutableIndex

DIM = 3
BASE = 300  # so many that ScaNN and IVF make leaves
KINDS = {
    "exact": Exact,
    "ivf": lambda vectors: IVF(vectors, leaves=8, probes=4),
    "scann": lambda vectors: ScaNN(vectors, leaves=8, leaves_to_search=4, reorder=50),
    "faiss_ivf": lambda vectors: FaissIVF(vectors, leaves=8, probes=4),
    "faiss_ivfpq": lambda vectors: FaissIVFPQ(vectors, leaves=8, probes=4),
    "faiss_hnsw": FaissHNSW,
}


QUERIES = np.array([[1, 2, -1], [0, 0, 1], [-3, 1, 0], [0, 0, 0]], np.float32)


def operations(rebuilds):
    """Lists of (verb, ids, seed of vectors); the ids collide with one another and with the base."""
    verbs = ["upsert", "upsert", "upsert", "delete", "delete"] + ["rebuild"] * rebuilds
    step = st.tuples(st.sampled_from(verbs), st.lists(st.integers(0, 12), max_size=5), st.integers(0, 2**16))
    return st.lists(step, max_size=12)


@pytest.fixture(params=KINDS)
def kind(request):
    package = request.param.partition("_")[0]
    if package in ("scann", "faiss") and not extras.available(package):
        pytest.skip(f"{package} is not installed")
    return request.param


def integers(seed, rows):
    return np.random.default_rng(seed).integers(-3, 4, size=(rows, DIM)).astype(np.float32)


def name(number, id_type):
    """Text ids that are odd on purpose: beyond ASCII, a zero byte, spaces."""
    return ["", "é", "人 ", "a\0b"][number % 4] + f"item {number}" if id_type is str else number - 5


def apply(index, truth, step, id_type):
    verb, numbers, seed = step
    ids = [name(n, id_type) for n in numbers if id_type is str or n != 4]  # 4 is the missing id −1
    if verb == "upsert":
        vectors = integers(seed, len(ids))
        index.upsert(ids, vectors)
        truth.update(zip(ids, vectors))
    elif verb == "delete":
        assert index.delete(ids) == len({i for i in ids if i in truth})
        for i in ids:
            truth.pop(i, None)
    else:
        index.rebuild()
        assert index.overlay_rows == index.tombstones == 0


def check(index, truth, ks, missing, complete=True):
    """Every answer is distinct, there, best first, with its true score; with `complete`, none better is left out."""
    assert len(index) == len(truth)
    for k in ks:
        found = index.search(QUERIES, k)
        assert found.scores.shape == found.ids.shape == (len(QUERIES), k)
        for query, scores, ids in zip(QUERIES, found.scores, found.ids):
            ids = ids.tolist()
            there = [i for i in ids if i != missing]
            assert len(set(there)) == len(there) and ids[:len(there)] == there
            assert scores[:len(there)].tolist() == [float(query @ truth[i]) for i in there]
            assert np.all(np.isneginf(scores[len(there):]))
            best = sorted((float(query @ v) for v in truth.values()), reverse=True)[:k]
            if complete:
                assert scores[:len(there)].tolist() == best
            else:
                assert np.all(np.diff(scores[:len(there)]) <= 0)


def base(id_type=str):
    """{id: vector} of 300 items, of which operations know the first ones."""
    numbers = [n for n in range(BASE + 1) if n != 4]
    return dict(zip([name(n, id_type) for n in numbers], integers(0, BASE)))


def run(build, id_type, steps, start, ks, all_of_them=()):
    """Applies the steps to an index over `start`; `all_of_them`: the k for which an answer must be complete."""
    index, truth = MutableIndex(build, DIM, id_type), dict(start)
    index.upsert(list(truth), np.reshape(list(truth.values()), (-1, DIM)))
    index.rebuild()
    missing, main = "" if id_type is str else -1, set(start)
    for step in [*steps, ("rebuild", [], 0)]:
        apply(index, truth, step, id_type)
        main = set(truth) if step[0] == "rebuild" else main
        assert sorted(index.delta().withdrawn.tolist()) == sorted(main - set(truth))
        check(index, truth, [k for k in ks if k in all_of_them], missing)
        check(index, truth, [k for k in ks if k not in all_of_them], missing, complete=False)


@pytest.mark.parametrize("id_type", [str, int])
@settings(max_examples=60, deadline=None)
@given(steps=operations(rebuilds=1))
def test_any_changes_equal_a_rebuilt_index(id_type, steps):
    run(Flat, id_type, steps, {}, (1, 4, 20), (1, 4, 20))


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=operations(rebuilds=0))
def test_any_changes_over_every_kind(kind, steps):
    """An approximate index that is asked for all visits all, so that then the answer has to be complete."""
    run(KINDS[kind], str, steps, base(), (BASE + 20, 5), (BASE + 20, 5) if kind == "exact" else (BASE + 20,))


def test_a_change_counts_from_the_next_search_on(kind):
    index = MutableIndex(KINDS[kind], DIM)
    truth = base()
    index.upsert(list(truth), np.array(list(truth.values())))
    index.rebuild()
    query = np.array([[1, 1, 1]], np.float32)
    index.upsert(["new"], [[9, 9, 9]])
    assert index.search(query, 1).ids[0, 0] == "new" and "new" in index
    index.upsert(["new"], [[-9, -9, -9]])
    assert index.search(query, 300).ids[0, 0] != "new"
    assert index.delete(["new", "never seen"]) == 1 and index.delete(["new"]) == 0 and "new" not in index
    assert "new" not in index.search(query, 400).ids
    index.upsert(["new"], [[8, 8, 8]])
    assert index.search(query, 1).scores[0, 0] == 24
    best = index.search(query, 3).ids[0].tolist()
    for gone in best:
        index.delete([gone])
        assert gone not in index.search(query, 400).ids
    assert index.search(query, 1).ids[0, 0] not in best


def test_all_but_one_deleted(kind):
    """Tombstones crowd the best answers of the main index; the one item left is still found."""
    index = MutableIndex(KINDS[kind], DIM, int)
    vectors = integers(1, BASE)
    vectors[7] = -9
    index.upsert(np.arange(BASE), vectors)
    index.rebuild()
    index.delete([i for i in range(BASE) if i != 7])
    found = index.search(np.ones((2, DIM), np.float32), 2)
    assert found.ids.tolist() == [[7, -1]] * 2 and found.scores[0].tolist() == [-27, -np.inf]
    assert index.delete([7]) == 1 and len(index) == 0
    assert index.search(np.ones((1, DIM), np.float32), 1).ids.tolist() == [[-1]]
    index.rebuild()
    assert index.search(np.ones((1, DIM), np.float32), 1).ids.tolist() == [[-1]]
    index.upsert([3], [[1, 0, 0]])
    assert index.search(np.ones((1, DIM), np.float32), 2).ids.tolist() == [[3, -1]]


def test_the_last_of_duplicates_counts():
    index = MutableIndex(Flat, DIM)
    index.upsert(["a", "b", "a"], [[1, 0, 0], [2, 0, 0], [3, 0, 0]])
    found = index.search([[1, 0, 0]], 3)
    assert found.ids.tolist() == [["a", "b", ""]] and found.scores.tolist() == [[3, 2, -np.inf]]


def test_bytes_are_text_and_nothing_is_no_change():
    index = MutableIndex(Flat, DIM)
    index.upsert(np.array(["é".encode(), b"b"], object), np.ones((2, DIM)))
    assert "é" in index and b"b" in index
    index.upsert([], [])
    index.upsert([], np.zeros((0, DIM)))
    assert index.delete([]) == 0 and len(index) == 2
    assert index.search(np.zeros((0, DIM)), 4).ids.shape == (0, 4)


def test_delta_is_what_changed_since_the_rebuild():
    index = MutableIndex(Flat, DIM, int)
    index.upsert([1, 2, 3], np.eye(3))
    index.rebuild()
    assert [len(part) for part in index.delta()] == [0, 0, 0]
    index.upsert([2, 9], [[5, 0, 0], [6, 0, 0]])
    index.upsert([9], [[7, 0, 0]])
    index.upsert([8], [[7, 0, 0]])
    index.delete([1, 8])
    delta = index.delta()
    assert dict(zip(delta.ids.tolist(), delta.vectors[:, 0].tolist())) == {2: 5, 9: 7}
    assert delta.withdrawn.tolist() == [1]
    index.delete([2, 9])
    index.upsert([1], [[1, 0, 0]])
    assert index.delta().ids.tolist() == [1] and index.delta().withdrawn.tolist() == [2]
    index.rebuild()
    assert [len(part) for part in index.delta()] == [0, 0, 0]


def test_a_build_that_fails_changes_nothing():
    def fails(vectors):
        if len(vectors) > 1:
            raise RuntimeError("no memory")
        return Flat(vectors)

    index = MutableIndex(fails, DIM)
    index.upsert(["a"], [[1, 0, 0]])
    index.rebuild()
    index.upsert(["b"], [[2, 0, 0]])
    with pytest.raises(RuntimeError, match="no memory"):
        index.rebuild()
    assert index.search([[1, 0, 0]], 2).ids.tolist() == [["b", "a"]]
    index.delete(["a"])
    index.rebuild()
    assert index.search([[1, 0, 0]], 2).ids.tolist() == [["b", ""]]


def test_searches_see_whole_changes_while_writers_write_and_rebuild():
    """Each change moves all ten items to one score, so that any mixture of two moments would show."""
    index = MutableIndex(Flat, 1, int)
    ids, query = np.arange(10), np.ones((1, 1), np.float32)
    index.upsert(ids, np.zeros((10, 1)))
    stop, seen = threading.Event(), []

    def write():
        for value in range(1, 400):
            index.upsert(ids, np.full((10, 1), value, np.float32))
            if value % 50 == 0:
                index.upsert([100], [[-1]])
                index.delete([100])

    def rebuild():
        while not stop.is_set():
            index.rebuild()

    def search():
        while not stop.is_set():
            seen.append(index.search(query, 10).scores[0])

    threads = [threading.Thread(target=t) for t in (rebuild, search, search)]
    for thread in threads:
        thread.start()
    write()
    stop.set()
    for thread in threads:
        thread.join()
    assert all(len(set(scores.tolist())) == 1 for scores in seen) and len(seen) > 5
    firsts = [scores[0] for scores in seen]
    assert index.search(query, 10).scores.tolist() == [[399.0] * 10] and max(firsts) <= 399


def test_a_search_in_the_middle_of_a_change_sees_nothing_of_it(monkeypatch):
    index = MutableIndex(Flat, DIM)
    index.upsert(["a", "b", "c"], [[3, 0, 0], [2, 0, 0], [1, 0, 0]])
    index.rebuild()
    index.upsert(["d", "e"], [[5, 0, 0], [4, 0, 0]])
    publish, seen = index._publish, []

    def late():
        seen.append(index.search([[1, 0, 0]], 9).scores.tolist())
        publish()

    monkeypatch.setattr(index, "_publish", late)
    for change in (lambda: index.upsert(["a", "d", "f"], [[9, 0, 0]] * 3), lambda: index.delete(["b", "e"])):
        before = index.search([[1, 0, 0]], 9).scores.tolist()
        change()
        assert seen.pop() == before != index.search([[1, 0, 0]], 9).scores.tolist()


def test_changes_during_a_rebuild_are_kept():
    """The build itself changes the index: what comes, moves and goes meanwhile counts in the new one."""
    def build(vectors):
        if len(vectors) == 4:
            index.upsert(["a", "new", "twice"], [[10, 0, 0], [11, 0, 0], [12, 0, 0]])
            index.upsert(["twice"], [[13, 0, 0]])
            index.delete(["b", "fresh"])
            index.upsert(["back"], [[14, 0, 0]])
            index.delete(["back"])
        return Flat(vectors)

    index = MutableIndex(build, DIM)
    index.upsert(["a", "b", "c"], [[1, 0, 0], [2, 0, 0], [3, 0, 0]])
    index.rebuild()
    index.upsert(["fresh"], [[4, 0, 0]])
    index.rebuild()
    found = index.search([[1, 0, 0]], 5)
    assert found.ids.tolist() == [["twice", "new", "a", "c", ""]] and found.scores[0, :4].tolist() == [13, 11, 10, 3]
    assert len(index) == 4 and index.tombstones == 3
