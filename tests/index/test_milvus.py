"""Milvus behind the same calls, on the embedded engine: changes, filters, recall, and what is refused."""

import numpy as np
import pytest

from tests.hostile_ids import HOSTILE
from tests.items_in_memory import ItemsInMemory
from tfrs_twotower import extras
from tfrs_twotower.errors import IndexingError
from tfrs_twotower.index import MilvusIndex, milvus, recall

DIM = 4

if not (extras.available("pymilvus") and extras.available("milvus_lite")):
    pytest.skip("the extra `milvus` is not installed", allow_module_level=True)


@pytest.fixture
def opened(tmp_path):
    """Opens collections in one file, and closes them."""
    made = []

    def make(dim=DIM, id_type=str, space="s1", collection="items"):
        made.append(MilvusIndex(tmp_path / "items.db", collection, dim, id_type, space))
        return made[-1]

    yield make
    for index in made:
        index.close()


def unit(rows, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(rows, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("id_type", [str, int])
def test_random_changes_equal_those_in_memory(opened, id_type):
    index, same = opened(id_type=id_type), ItemsInMemory([], [])
    generator, queries = np.random.default_rng(0), unit(5, seed=1)
    for step in range(12):
        ids = [int(n) for n in generator.integers(0, 30, 6)]
        ids = [f'item "{n}" é' for n in ids] if id_type is str else ids
        if step % 3 == 2:
            assert index.delete(ids) == same.delete(ids)
        else:
            vectors = unit(6, seed=step + 10)
            index.upsert(ids, vectors)
            same.upsert(ids, vectors)
        if step == 7:
            index.compact()
        assert len(index) == len(same)
        found, expected = index.search(queries, 40), same.search(queries, 40)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_a_large_upsert_in_parts_and_its_recall(opened, monkeypatch):
    monkeypatch.setattr(milvus, "_PART", 4 * DIM * 700)
    monkeypatch.setattr(milvus, "_QUERIES", 30)
    index, vectors = opened(id_type=int), unit(2000)
    index.upsert(np.arange(2000), vectors)
    index.compact()
    assert len(index) == 2000
    assert recall.of_items(index, range(2000), vectors, unit(100, seed=1), 10) > 0.95
    assert recall.of_items(index, [*range(1000, 2000), *range(1000)], vectors, unit(100, seed=1), 10) < 0.5


def test_filters(opened):
    index = opened()
    colours = ["red", 'blue" or price > 0 or color == "', "né"]
    attributes = [{"color": colours[n % 3], "price": n / 10} for n in range(30)]
    index.upsert([str(n) for n in range(30)], unit(30), attributes)
    queries = unit(3, seed=2)

    def found(**where):
        return [sorted(int(i) for i in ids if i) for ids in index.search(queries, 30, where)[1]]

    for colour, first in zip(colours, range(3)):
        assert found(color=[colour]) == [list(range(first, 30, 3))] * 3
    assert found(color=["red", "né"], price=(1.0, 1.5)) == [[11, 12, 14, 15]] * 3
    assert found(price=(None, 0.2)) == [[0, 1, 2]] * 3 and found(price=(2.8, None)) == [[28, 29]] * 3
    assert found(color=["none"]) == [[]] * 3
    index.upsert(["0"], unit(1), [{"color": "none"}])
    assert found(color=["none"]) == [[0]] * 3


def test_it_is_there_after_opening_again_and_spaces_lie_apart(opened):
    first = opened()
    first.upsert(["a"], unit(1))
    other = opened(space="s2", dim=2)
    other.upsert(["b"], [[1, 0]])
    assert len(first) == len(other) == 1
    first.close()
    other.close()
    again = opened()
    assert again.search(unit(1), 2).ids.tolist() == [["a", ""]]
    again.drop()
    assert len(opened(space="s2", dim=2)) == 1 and len(opened()) == 0


def test_a_collection_of_other_items_is_refused(opened):
    opened()
    with pytest.raises(IndexingError, match="with 4 dimensions; needed.*of 5"):
        opened(dim=5)
    with pytest.raises(IndexingError, match="needed are item_id of INT64"):
        opened(id_type=int)


class Cluster:
    """A client that fills the names of a filter with their values, as a cluster does and milvus-lite does not."""

    def __init__(self, client):
        self._client, self.texts = client, []

    def __getattr__(self, name):
        def call(*args, filter="", filter_params=None, **others):
            self.texts.append(filter)
            for place, value in (filter_params or {}).items():
                filter = filter.replace(f"{{{place}}}", milvus._quoted(value))
            given = {"filter": filter} if name in ("query", "delete", "search") else {}
            return getattr(self._client, name)(*args, **given, **others)

        return call


def test_a_cluster_gets_ids_beside_the_text_of_a_filter(opened):
    index = opened()
    index._client, index._in_file = Cluster(index._client), False
    index.upsert(HOSTILE, unit(len(HOSTILE)), [{"word": item} for item in HOSTILE])
    asked = {"word": HOSTILE[:3], "price": (1.0, None)}
    assert index.search(unit(1), 5, {"word": HOSTILE[:3]}).ids[0].tolist().count("") == 2
    assert index.search(unit(1), 5, asked).ids[0].tolist() == [""] * 5
    assert index.delete(HOSTILE) == len(HOSTILE) and len(index) == 0
    assert set(index._client.texts) == {"", "item_id in {ids}", "word in {v0}", "word in {v0} and price >= {v1}"}


def test_ids_that_look_like_code_are_found_and_deleted_and_no_other_with_them(opened):
    index, every = opened(), len(HOSTILE)
    vectors = np.random.default_rng(0).normal(size=(every, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index.upsert(HOSTILE, vectors)
    index.compact()
    assert index.search(vectors, every).ids[:, 0].tolist() == HOSTILE
    for place, item in enumerate(HOSTILE[::2], 1):
        assert [index.delete([item]), index.delete([item])] == [1, 0], item
        assert len(index) == every - place
    left = HOSTILE[1::2]
    assert sorted(filter(None, index.search(vectors[:1], every).ids[0])) == sorted(left)
    index.upsert(HOSTILE[:1], vectors[:1])
    assert index.delete(HOSTILE) == len(left) + 1 and len(index) == 0


@pytest.mark.parametrize("call, message", [
    (lambda i: i.upsert(["a"], [[1, 2]]), "`vectors` must have the shape"),
    (lambda i: i.upsert(["a"], [[1, 2, 3, np.nan]]), "`vectors` must be finite"),
    (lambda i: i.upsert([""], unit(1)), "missing id"),
    (lambda i: i.upsert(["é" * 300], unit(1)), "at most 512 bytes"),
    (lambda i: i.upsert(["a"], unit(1), [{}, {}]), "`attributes` must have 1 rows"),
    (lambda i: i.upsert(["a"], unit(1), [{"a b": 1}]), "`attribute` must be a name"),
    (lambda i: i.search(unit(1), 2, {"vector": [1]}), "`attribute` must be a name"),
    (lambda i: i.search(unit(1), 20_000), "`k` must be at most 16384"),
    (lambda i: i.search(np.ones((1, 3)), 1), "`queries` must have shape"),
    (lambda i: i.delete("a"), "`ids` must be a list"),
])
def test_what_is_refused(opened, call, message):
    with pytest.raises(IndexingError, match=message):
        call(opened())


def test_nothing_answers_at_the_address():
    with pytest.raises(IndexingError, match="Milvus refused"):
        MilvusIndex("http://127.0.0.1:1", "items", DIM)
    with pytest.raises(IndexingError, match="letters, digits and _"):
        MilvusIndex("x.db", "no-dashes", DIM)
