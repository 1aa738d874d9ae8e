"""An index in shards: its answer is that of one index, and each part has files of its own."""

import json

import numpy as np
import pytest

from tfrs_twotower import extras
from tfrs_twotower.configuration import from_dict, to_dict
from tfrs_twotower.errors import ConfigError, IndexingError
from tfrs_twotower.index import (
    SERVER,
    Exact,
    ExactKind,
    IndexConfig,
    ShardedKind,
    build,
    chosen_kind,
    kind_of,
    search_interests,
)

NEEDED = {"scann": "scann", "faiss_ivf": "faiss", "faiss_hnsw": "faiss", "faiss_ivfpq": "faiss"}


def kind_or_skip(name):
    if not extras.available(NEEDED.get(name, "numpy")):
        pytest.skip(f"{NEEDED[name]} is not installed")
    return kind_of(name)


@pytest.fixture(scope="module")
def points():
    """1,500 candidates and 200 queries in all directions."""
    points = np.random.default_rng(0).normal(size=(1700, 8)).astype(np.float32)
    return points[:1500], points[1500:]


@pytest.mark.parametrize("size, shards", [(1500, 4), (7, 3), (3, 5), (1, 2)])
@pytest.mark.parametrize("k", [1, 2, 10, 600, 2000])
def test_exact_parts_answer_as_one_exact_index(size, shards, k):
    """Also with ties, with k above the size of a part and of the whole, and with fewer rows than shards."""
    whole_numbers = np.random.default_rng(size).integers(-2, 3, size=(size + 20, 4)).astype(np.float32)
    vectors, queries = whole_numbers[:size], whole_numbers[size:]
    sharded = ShardedKind(ExactKind(), shards).build(vectors, IndexConfig())
    assert len(sharded.parts) == min(shards, size) and sharded.size == size
    found, expected = sharded.search(queries, k), Exact(vectors).search(queries, k)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.rows.shape == (20, k)


def test_queries_of_several_interests(points):
    vectors, queries = points
    sharded = ShardedKind(ExactKind(), 3).build(vectors, IndexConfig())
    interests = queries.reshape(50, 4, 8)
    np.testing.assert_array_equal(
        search_interests(sharded, interests, 20).rows, search_interests(Exact(vectors), interests, 20).rows
    )


@pytest.mark.parametrize("name", ["exact", "ivf", "scann", "faiss_ivf", "faiss_hnsw"])
def test_parts_are_tuned_as_one_kept_and_read_again(name, points, tmp_path):
    part, (vectors, queries) = kind_or_skip(name), points
    config = IndexConfig(kind=name, k=10, shards=3)
    index, report = build(config, vectors, queries)
    kind = chosen_kind(config, len(vectors))
    assert kind == ShardedKind(part, 3) and kind.place == SERVER and kind.op_library is None
    assert from_dict(to_dict(config)) == config and from_dict(to_dict(kind)) == kind
    assert report.kind == "sharded" and report.meets_target and report.recall_at_k >= 0.95
    assert [p["size"] for p in report.settings["parts"]] == [500, 500, 500] and report.settings["parts"][0]["kind"]
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    found = index.search(queries, 10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found.rows)]) > 0.93
    folder, copy = tmp_path / "index", tmp_path / "copy"
    for to, held in ((folder, index), (copy, None)):
        to.mkdir()
        kind.save(held or kind.load(folder), to)  # what is loaded can be exported again
    again = kind.load(copy)
    assert again.settings() == index.settings()
    np.testing.assert_array_equal(again.search(queries, 10).rows, found.rows)
    np.testing.assert_allclose(again.search(queries, 10).scores, found.scores, rtol=1e-6)
    second = kind.load_part(folder, 2)
    assert (second.start, second.of, second.held.size) == (500, 3, 500)
    alone = np.asarray(second.held.search(queries, 1).rows)[:, 0] + 500
    assert set(alone) <= set(range(500, 1000)) and np.isin(alone, found.rows).any()


def test_one_setting_for_all_parts(points):
    index, _ = build(IndexConfig(kind="ivf", k=10, shards=2), *points)
    assert index.parts[0].probes == index.parts[1].probes


def test_broken_files_are_named(points, tmp_path):
    kind = ShardedKind(ExactKind(), 2)
    kind.save(kind.build(points[0], IndexConfig()), tmp_path)
    for number in (0, 3):
        with pytest.raises(IndexingError, match="be one of the index's 2 parts"):
            kind.load_part(tmp_path, number)
    (tmp_path / "2" / "settings.json").write_text("{}")
    with pytest.raises(IndexingError, match="2 must hold an index as it was saved"):
        kind.load(tmp_path)
    whole = json.loads((tmp_path / "parts.json").read_text())
    for broken in ({}, {**whole, "starts": [0, 0]}, {**whole, "starts": [0, 1500]}, {**whole, "starts": [1]},
                   {**whole, "starts": []}, {**whole, "size": "x"}, [], {**whole, "starts": [0, 700]}):
        (tmp_path / "parts.json").write_text(json.dumps(broken))
        with pytest.raises(IndexingError, match="must hold an index as it was saved"):
            kind.load_part(tmp_path, 1)


@pytest.mark.parametrize("settings, message", [
    ({"kind": "sharded"}, "be the kind of the parts"),
    ({"kind": "milvus:x.db", "shards": 2}, "a kind on this machine"),
    ({"kind": ShardedKind(ExactKind(), 2), "shards": 2}, "a kind on this machine"),
    ({"shards": 0}, "a whole number of at least 1"),
])
def test_what_cannot_be_sharded(settings, message):
    with pytest.raises(ConfigError, match=message):
        IndexConfig(**settings)
