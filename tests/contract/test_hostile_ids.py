"""Ids that look like code, or hold what is escaped elsewhere: every index by id takes them for what they are."""

import numpy as np
import pytest

from tests.hostile_ids import HOSTILE
from tfrs_twotower import extras
from tfrs_twotower.index import IVF, Exact, FaissHNSW, FaissIVF, FaissIVFPQ, MilvusIndex, MutableIndex, ScaNN

NEEDED = {"scann": ("scann",), "faiss": ("faiss",), "milvus": ("pymilvus", "milvus_lite")}
MAIN = {
    "exact": Exact, "ivf": IVF, "scann": ScaNN,
    "faiss_ivf": FaissIVF, "faiss_ivfpq": FaissIVFPQ, "faiss_hnsw": FaissHNSW,
}
GENERATOR = np.random.default_rng(0)
VECTORS = GENERATOR.normal(size=(len(HOSTILE), 8)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)


@pytest.fixture(params=[*MAIN, "milvus"])
def opened(request, tmp_path):
    """An index of `HOSTILE`."""
    for package in NEEDED.get(request.param.partition("_")[0], ()):
        if not extras.available(package):
            pytest.skip(f"{package} is not installed")
    if request.param == "milvus":
        index = MilvusIndex(tmp_path / "items.db", "items", 8)
    else:
        index = MutableIndex(MAIN[request.param], 8, folder=tmp_path / "log")
    index.upsert(HOSTILE, VECTORS)
    index.compact()
    yield index
    index.close()


def test_each_is_found_and_deleted_and_no_other_with_it(opened):
    every = len(HOSTILE)
    assert opened.search(VECTORS, every).ids[:, 0].tolist() == HOSTILE
    for place, item in enumerate(HOSTILE[::2], 1):
        assert [opened.delete([item]), opened.delete([item])] == [1, 0], item
        assert len(opened) == every - place
    left = HOSTILE[1::2]
    assert sorted(filter(None, opened.search(VECTORS[:1], every).ids[0])) == sorted(left)
    opened.upsert(HOSTILE[:1], VECTORS[:1])
    assert opened.delete(HOSTILE) == len(left) + 1 and len(opened) == 0
