"""How much memory an index takes, known before it is built."""

import math
import os
import warnings

from tfrs_twotower.errors import IndexingError, invalid
from tfrs_twotower.index.leaves import leaves_for


def estimate_bytes(kind: str, shape: tuple[int, int], leaves: int | None = None) -> int:
    """Bytes that a built index of vectors of this shape, (n, dim), takes, without TensorFlow itself.

    exact: the vectors. ivf: those, their rows and the leaves. scann: the vectors twice (the saved
    state and the searcher that runs), with half a byte for each two dimensions and four for the leaf,
    and the leaves. One more traced function that searches ScaNN adds one more searcher.
    """
    size, dim = shape
    vectors = 4 * size * dim
    if kind == "exact":
        return vectors
    if kind == "ivf":
        return vectors + 4 * size + leaves_for(size, leaves, 4.0) * (4 * dim + 8)
    codes = size * ((dim + 1) // 2) // 2
    return 2 * (vectors + codes + 4 * size + leaves_for(size, leaves, 2.0) * 4 * dim)


def check(kind: str, shape: tuple[int, int], leaves: int | None = None) -> None:
    """Warns when building is likely not to fit in the free memory; an error when it can't fit at all.

    Building needs the given vectors besides, and exact search to measure recall. Free memory leaves
    out what the system would give back from its caches, so that alone is no reason to refuse.

    Raises:
      IndexingError: more is needed than the machine has.
    """
    size, dim = shape
    needed = estimate_bytes(kind, shape, leaves) + (1 if kind == "exact" else 2) * 4 * size * dim
    total, free = _memory("SC_PHYS_PAGES"), _memory("SC_AVPHYS_PAGES")
    way_out = 'Use fewer dimensions, kind="ivf" or "exact" in place of "scann", or more memory.'
    if needed > total:
        raise IndexingError(
            invalid("vectors", f"fit in memory; a {kind} index needs {_gb(needed)} of {_gb(total)}",
                    shape, way_out)
        )
    if needed > free:
        warnings.warn(
            f"Building a {kind} index of {size} x {dim} needs {_gb(needed)}; {_gb(free)} is free. {way_out}",
            ResourceWarning, stacklevel=2,
        )


def _memory(name: str) -> float:
    """Bytes; infinite where the system does not tell (Windows, macOS)."""
    if name not in getattr(os, "sysconf_names", ()):
        return math.inf
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf(name)


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
