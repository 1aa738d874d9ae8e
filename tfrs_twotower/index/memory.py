"""An estimate of an index's memory before it is built."""

import math
import os
import warnings

from tfrs_twotower.errors import IndexingError, invalid
from tfrs_twotower.index.kind import IndexKind, kind_of


def estimate_bytes(kind: str | IndexKind, shape: tuple[int, int], leaves: int | None = None) -> int:
    """Bytes that a built index of vectors of this shape, (n, dim), takes, without TensorFlow itself.

    kind: as in `IndexConfig.kind`. `IndexKind.memory_bytes` of each kind says what is counted.
    """
    return kind_of(kind).memory_bytes(shape, leaves)


def check(kind: str | IndexKind, shape: tuple[int, int], leaves: int | None = None) -> None:
    """Warns if the index may not fit in the free memory; raises an error if it cannot fit at all.

    Building also needs the given vectors, and exact search to measure recall. Free memory does not count the
    system's caches, which could be freed. So too little free memory is only a warning.

    Raises:
      IndexingError: more is needed than the machine has.
    """
    size, dim = shape
    kind = kind_of(kind)
    needed = kind.memory_bytes(shape, leaves) + (1 if kind.called() == "exact" else 2) * 4 * size * dim
    total, free = _memory("SC_PHYS_PAGES"), _memory("SC_AVPHYS_PAGES")
    way_out = 'Use fewer dimensions, kind="ivf" or "exact" in place of "scann", or more memory.'
    if needed > total:
        raise IndexingError(
            invalid("vectors", f"fit in memory; a {kind.called()} index needs {_gb(needed)} of {_gb(total)}",
                    shape, way_out)
        )
    if needed > free:
        warnings.warn(
            f"Building a {kind.called()} index of {size} x {dim} needs {_gb(needed)}; {_gb(free)} is free. {way_out}",
            ResourceWarning, stacklevel=2,
        )


def _memory(name: str) -> float:
    """Bytes; infinite on systems that do not tell (Windows, macOS)."""
    if name not in getattr(os, "sysconf_names", ()):
        return math.inf
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf(name)


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
