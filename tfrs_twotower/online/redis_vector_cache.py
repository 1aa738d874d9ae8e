"""A `UserVectorCache` in Redis, shared by servers."""

import numpy as np

from tfrs_twotower.online.redis_connection import PREFIX, connect, errors

_SECONDS = 3600


class RedisVectorCache:
    """See `UserVectorCache`. A vector goes an hour after it was made; give the server a `maxmemory` besides.

    Args:
      url: as for `RedisHistoryStore`. A server that keeps events should not be the one that caches: it may not
        evict.
      seconds: how long a vector is kept.

    Raises:
      StoreError: nothing answers there.
    """

    def __init__(self, url, seconds=_SECONDS):
        self._url, self._seconds, self._redis = url, seconds, connect(url)

    def get(self, keys):
        """See `UserVectorCache`."""
        if not keys:
            return []
        with errors(self._url):
            found = self._redis.mget([_key(key) for key in keys])
        return [None if value is None else np.frombuffer(value, np.float32) for value in found]

    def put(self, keys, vectors):
        """See `UserVectorCache`."""
        with errors(self._url):
            pipeline = self._redis.pipeline(transaction=False)
            for key, vector in zip(keys, vectors):
                pipeline.set(_key(key), np.asarray(vector, np.float32).tobytes(), ex=self._seconds)
            pipeline.execute()

    def close(self):
        """See `UserVectorCache`."""
        self._redis.close()


def _key(key):
    return f"{PREFIX}:vector:".encode() + key
