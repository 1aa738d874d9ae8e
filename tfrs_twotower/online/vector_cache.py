"""Query vectors kept for the next request of the same user."""

import collections
import hashlib
import threading
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from tfrs_twotower.errors import ConfigError, invalid

_DIGEST_BYTES = 16


class UserVectorCache(Protocol):
    """Vectors by `vector_keys`. A key never means two vectors, so vectors are never invalidated, only dropped.

    Threads and processes may share one. Every method may raise `StoreError`.
    """

    def get(self, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        """float32 [dim] of each key; None for a key without a vector."""

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Keeps one row of `vectors` [keys, dim] under each key."""

    def close(self) -> None:
        """Closes connections."""


class LruVectorCache:
    """A `UserVectorCache` in this process that holds the `size` vectors used last."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ConfigError(invalid("size", "be at least 1", size, "To use no cache, leave it out."))
        self._size, self._lock = size, threading.Lock()
        self._vectors: collections.OrderedDict[bytes, np.ndarray] = collections.OrderedDict()

    def get(self, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        """See `UserVectorCache`."""
        with self._lock:
            found = [self._vectors.get(key) for key in keys]
            for key, vector in zip(keys, found):
                if vector is not None:
                    self._vectors.move_to_end(key)
        return found

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """See `UserVectorCache`."""
        copies = [np.array(vector, np.float32) for vector in vectors]
        with self._lock:
            for key, vector in zip(keys, copies):
                self._vectors[key] = vector
                self._vectors.move_to_end(key)
            while len(self._vectors) > self._size:
                self._vectors.popitem(last=False)

    def close(self) -> None:
        """See `UserVectorCache`."""


def vector_keys(model: str, features: Mapping[str, np.ndarray]) -> list[bytes]:
    """A key for each query of a request, made of the model and of all inputs of its query tower.

    These are the user, the user's history and profile, and the context. So after a new event, with another profile,
    model or space, the key is another one, and no vector can be out of date.

    Args:
      model: text that identifies the weights, such as the checksum of an export's manifest.
      features: {input name: array [batch, ...]}. Missing values at the end of a row of a list do not count.

    Returns:
      list of bytes.
    """
    start = hashlib.blake2b(model.encode(), digest_size=_DIGEST_BYTES)
    batch = len(next(iter(features.values())))
    digests = [start.copy() for _ in range(batch)]
    for name in sorted(features):
        for digest, row in zip(digests, features[name]):
            content = _content(row)
            digest.update(f"{name}:{len(content)}:".encode())
            digest.update(content)
    return [digest.digest() for digest in digests]


def _content(row: np.ndarray | np.generic | bytes) -> bytes:
    if isinstance(row, bytes):
        return row
    values = np.asarray(row)
    if values.ndim and values.dtype.kind in "OiSf":
        missing = b"" if values.dtype.kind in "OS" else -1
        there = np.flatnonzero(~np.isnan(values) if values.dtype.kind == "f" else values != missing)
        values = values[: there[-1] + 1 if len(there) else 0]
    if values.dtype.kind in "OS":
        texts = values.ravel().tolist()
        return b"".join([*(b"%d:" % len(text) for text in texts), *texts])
    return values.tobytes()
