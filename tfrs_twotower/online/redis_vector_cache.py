"""A `UserVectorCache` in Redis, shared by servers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrs_twotower.online.redis_connection import PREFIX, connect, errors

_SECONDS = 3600


class RedisVectorCache:
    """See `UserVectorCache`. A vector is removed an hour after it was made. Also set the server's `maxmemory`.

    Args:
      url: as for `RedisHistoryStore`. Use another server than for events, as that one may not evict.
      seconds: the time that a vector is kept.

    Raises:
      StoreError: nothing answers there.
    """

    def __init__(self, url: str, seconds: int = _SECONDS) -> None:
        self._url, self._seconds, self._redis = url, seconds, connect(url)

    def get(self, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        """See `UserVectorCache`."""
        if not keys:
            return []
        with errors(self._url):
            found: list[Any] = self._redis.mget([_key(key) for key in keys])  # bytes: nothing is decoded
        return [None if value is None else np.frombuffer(value, np.float32) for value in found]

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """See `UserVectorCache`."""
        with errors(self._url):
            pipeline = self._redis.pipeline(transaction=False)
            for key, vector in zip(keys, vectors):
                pipeline.set(_key(key), np.asarray(vector, np.float32).tobytes(), ex=self._seconds)
            pipeline.execute()

    def close(self) -> None:
        """See `UserVectorCache`."""
        self._redis.close()


def _key(key: bytes) -> bytes:
    return f"{PREFIX}:vector:".encode() + key
