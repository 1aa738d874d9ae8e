"""Kinds of index outside of a SavedModel: named, tuned to a target, kept in files and read again."""

import numpy as np
import pytest

from tfrs_twotower import extras
from tfrs_twotower.configuration import config, from_dict, to_dict
from tfrs_twotower.errors import ConfigError, IndexingError
from tfrs_twotower.index import (
    REMOTE,
    SERVER,
    Exact,
    ExactKind,
    FaissHNSWKind,
    IndexConfig,
    IndexKind,
    MilvusKind,
    TopK,
    build,
    kind_of,
)
from tfrs_twotower.index.kept import keep, kept

KINDS = ("faiss_ivf", "faiss_ivfpq", "faiss_hnsw", "milvus", "faiss_ivf:int8", "faiss_hnsw:bfloat16")
NEEDED = {"faiss": ("faiss",), "milvus": ("pymilvus", "milvus_lite")}


@pytest.fixture(scope="module")
def points():
    """1,500 candidates and 200 queries in all directions."""
    points = np.random.default_rng(0).normal(size=(1700, 8)).astype(np.float32)
    return points[:1500], points[1500:]


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_outside_is_tuned_kept_and_read_again(name, points, tmp_path):
    for package in NEEDED[name.partition("_")[0]]:
        if not extras.available(package):
            pytest.skip(f"{package} is not installed")
    named = f"milvus:{tmp_path}/items.db" if name == "milvus" else name
    kind, (vectors, queries) = kind_of(named), points
    index, report = build(IndexConfig(kind=named, k=10), vectors, queries)
    assert report.kind == name.partition(":")[0] and report.meets_target and report.settings == index.settings()
    assert kind.place == (REMOTE if name == "milvus" else SERVER)
    folder = tmp_path / "index"
    folder.mkdir()
    kind.save(index, folder)
    again = kind.load(folder)
    for file in folder.iterdir():
        whole = file.read_bytes()
        for broken in (None, b"", whole[: len(whole) // 2], b"[]", b"{}", whole.replace(b"1500", b'"x"')):
            if broken is None:
                file.unlink()
            elif broken == whole:
                continue
            else:
                file.write_bytes(broken)
            with pytest.raises(IndexingError, match=f"{file.name} must hold .* `twotower index RUN`"):
                kind.load(folder)
            file.write_bytes(whole)
    assert again.settings() == index.settings()
    found, expected = again.search(queries, 10), index.search(queries, 10)
    np.testing.assert_array_equal(found.rows, expected.rows)
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found.rows)]) > 0.9
    if name != "milvus":
        every, same = (one.search(queries[:2], 1500).rows for one in (again, index))
        np.testing.assert_array_equal(every, same)
    if name == "milvus":  # the vectors are there already
        assert len(kind.build(vectors, IndexConfig()).collection) == 1500
        assert again.search(queries[:1], 2000).rows.shape == (1, 2000)


@config
class Reversed(IndexKind):
    """Exact search of the vectors in another order, with a setting of its own."""

    place = SERVER
    step: int = -1

    def build(self, vectors, settings, seed=0):
        order = np.arange(len(vectors))[::self.step]
        exact = Exact(vectors[order])

        class Index:
            size, dim, exact = len(vectors), vectors.shape[1], False

            def search(self, queries, k):
                found = self.held.search(queries, k)
                return TopK(found.scores.numpy(), order[found.rows.numpy()].astype(np.int32))

            def settings(self):
                return {"kind": "reversed"}

        Index.held = exact
        return Index()


def test_a_kind_of_ones_own_by_its_import_path(points):
    path = f"{Reversed.__module__}.Reversed"
    by_name, by_value = IndexConfig(kind=path), IndexConfig(kind=Reversed(step=-1))
    assert kind_of(path) == Reversed() == kind_of(by_value.kind)
    assert from_dict(to_dict(by_value)) == by_value and from_dict(to_dict(by_name)) == by_name
    assert to_dict(by_value)["kind"] == {"type": path, "step": -1}
    _, report = build(by_value, *points)
    assert report.kind == path and report.recall_at_k == 1.0 and report.memory_bytes == 1500 * 8 * 4


@pytest.mark.parametrize("kind", ["faiss_ivf", "faiss_hnsw"])
def test_a_store_of_fewer_bytes_is_measured(kind, points, tmp_path):
    """The file is smaller by the bytes that the vectors save, and the recall is nearly that of float32."""
    if not extras.available("faiss"):
        pytest.skip("faiss is not installed")
    vectors, queries = points
    truth, sizes = np.argsort(-(queries @ vectors.T), axis=1)[:, :10], {}
    for store, bytes_of, least in (("float32", 4, 0.999), ("bfloat16", 2, 0.97), ("int8", 1, 0.95)):
        one = kind_of(kind if store == "float32" else f"{kind}:{store}")
        index = one.build(vectors, IndexConfig(leaves=4))
        found = index.search(queries, 400).rows[:, :10]  # all leaves, all nodes
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found)]) > least
        one.save(index, tmp_path)
        sizes[store] = (tmp_path / "index.faiss").stat().st_size
        assert one.memory_bytes(vectors.shape) - kind_of(kind).memory_bytes(vectors.shape) == 1500 * 8 * (bytes_of - 4)
    assert sizes["float32"] - sizes["bfloat16"] == pytest.approx(1500 * 8 * 2, abs=300)
    assert sizes["float32"] - sizes["int8"] == pytest.approx(1500 * 8 * 3, abs=300)


def test_a_kind_reads_the_index_of_an_earlier_version():
    """An export of a version without `store` brings a kind without it."""
    brought = {"type": "FaissHNSWKind", "links": 16, "build_width": 200}
    assert kind_of("faiss_hnsw").reads(brought) and kind_of("faiss_hnsw").reads({**brought, "store": "float32"})
    assert not kind_of("faiss_hnsw:int8").reads(brought) and not kind_of("faiss_hnsw").reads({**brought, "links": 8})
    assert not kind_of("faiss_ivf").reads(brought) and not kind_of("faiss_hnsw").reads({**brought, "later": 1})


def test_settings_of_a_kind():
    assert kind_of("exact") == ExactKind() and kind_of("milvus:x.db") == MilvusKind("x.db")
    hnsw = IndexConfig(kind=FaissHNSWKind(links=8))
    assert from_dict(to_dict(hnsw)) == hnsw


@pytest.mark.parametrize(("kind", "message"), [
    ("faiss_ivf:int4", "'bfloat16' or 'int8'"), ("faiss_ivfpq:int8", "have no address"),
    ("faiss_hnsw:", "FaissHNSWKind.store"), ("milvus", "have the address of Milvus"),
    ("ivf:there", "have no address"), ("faiss_hnws", "faiss_hnsw"),
    ("no_such_module.Kind", "cannot be imported.*--import"), ("json.JSONDecoder", "subclass of `IndexKind`"),
])
def test_what_is_no_kind(kind, message):
    with pytest.raises(ConfigError, match=message):
        IndexConfig(kind=kind)


@pytest.mark.parametrize("kind", [None, 3, ".x", "x.", "no.such"])
def test_what_names_no_kind_is_refused(kind):
    with pytest.raises(ConfigError, match="kind"):
        IndexConfig(kind=kind)


def test_a_byte_changed_in_a_kept_index_is_an_error(points, tmp_path):
    """Faiss itself reads such a file, and answers with other rows."""
    folder, config = tmp_path / "index", IndexConfig(kind="faiss_ivf", k=10, target_recall=0.5)
    index, report = build(config, *points)
    keep(folder, kind_of("faiss_ivf"), index, report, config, points[0])
    assert kept(folder, points[0]) is not None
    file, = (path for path in folder.iterdir() if path.suffix != ".json")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 64
    file.write_bytes(content)
    with pytest.raises(IndexingError, match=f"{file.name} does not have the checksum.*`twotower index`"):
        kept(folder, points[0])
