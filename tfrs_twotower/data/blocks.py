"""Access to arrays with a value for each event, in blocks: NumPy makes int64 of all positions of an access at once."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_BLOCK = 2**22  # positions at a time


def positions(n: int) -> np.ndarray:
    """int32 [n] (int64 from 2³¹ on): 0 … n − 1."""
    return np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)


def parts(values: np.ndarray, size: int | None = None) -> Iterator[np.ndarray]:
    """Views of an array, `size` rows each, one block after the other."""
    size = size or _BLOCK
    for start in range(0, len(values), size):
        yield values[start: start + size]


def counts(values: np.ndarray, size: int) -> np.ndarray:
    """int64 [size]: how often each number below `size` comes; values: int [n]."""
    found = np.zeros(size, np.int64)
    for part in parts(values):
        found += np.bincount(part, minlength=size)
    return found


def take(values: np.ndarray, at: np.ndarray, dtype: npt.DTypeLike | None = None) -> np.ndarray:
    """`values[at]`, [n], as `dtype`, or as they are; values: [m], at: int [n], positions in it."""
    found = np.empty(len(at), dtype or values.dtype)
    for start in range(0, len(at), _BLOCK):
        found[start: start + _BLOCK] = values[at[start: start + _BLOCK]]
    return found


def places(order: np.ndarray) -> np.ndarray:
    """The place of each position in `order`, a permutation: int [n] of its type."""
    found = np.empty_like(order)
    for start in range(0, len(order), _BLOCK):
        part = order[start: start + _BLOCK]
        found[part] = np.arange(start, start + len(part))
    return found
