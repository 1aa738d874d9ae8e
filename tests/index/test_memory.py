import numpy as np
import pytest

from tfrs_twotower.errors import IndexingError
from tfrs_twotower.index import IVF, Exact, ScaNN, estimate_bytes, memory


def held(index):
    return sum(int(np.prod(v.numpy().shape)) * v.dtype.size for v in index.variables if v.dtype.size)


def test_estimates_by_hand():
    assert estimate_bytes("exact", (1000, 64)) == 256_000
    assert estimate_bytes("ivf", (1600, 64), 100) == 1600 * 260 + 100 * 264
    assert estimate_bytes("scann", (1600, 64), 100) == 2 * (1600 * (256 + 16 + 4) + 100 * 256)


@pytest.mark.parametrize("kind, build, copies", [("exact", Exact, 1), ("ivf", IVF, 1), ("scann", ScaNN, 2)])
def test_estimates_agree_with_what_is_held(kind, build, copies):
    if kind == "scann":
        pytest.importorskip("scann")
    vectors = np.random.default_rng(0).normal(size=(5000, 32))
    index = build(vectors)
    estimate = estimate_bytes(kind, (5000, 32), index.settings().get("leaves")) / copies
    assert estimate == pytest.approx(held(index), rel=0.1)


def test_what_can_never_fit_is_refused():
    with pytest.raises(IndexingError, match="fit in memory; a scann index needs .* GB of .* more memory"):
        memory.check("scann", (10**12, 64))


def test_what_hardly_fits_is_warned_of(monkeypatch):
    monkeypatch.setattr(memory, "_memory", {"SC_PHYS_PAGES": 10**9, "SC_AVPHYS_PAGES": 10**6}.get)
    memory.check("exact", (1000, 64))
    with pytest.warns(ResourceWarning, match='Building a exact index of 10000 x 64 needs 0.0 GB.*kind="ivf"'):
        memory.check("exact", (10_000, 64))
