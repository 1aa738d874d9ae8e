"""A `ProfileStore` in Redis: one JSON text per user."""

import json
from collections.abc import Sequence

from tfrs_twotower.online.redis_connection import PREFIX, connect, errors


class RedisProfileStore:
    """See `ProfileStore`. Argument: a URL as for `RedisHistoryStore`. Raises `StoreError`."""

    def __init__(self, url: str) -> None:
        self._url, self._redis = url, connect(url, decode_responses=True)

    def put(self, profiles: dict[str, dict]) -> None:
        """See `ProfileStore`."""
        if profiles:
            with errors(self._url):
                self._redis.mset({_key(u): json.dumps(v, allow_nan=False) for u, v in profiles.items()})

    def get(self, user_ids: Sequence[str]) -> list[dict]:
        """See `ProfileStore`."""
        if not user_ids:
            return []
        with errors(self._url):
            return [json.loads(text) if text else {} for text in self._redis.mget([_key(u) for u in user_ids])]

    def close(self) -> None:
        """See `ProfileStore`."""
        self._redis.close()


def _key(user: str) -> str:
    return f"{PREFIX}:{{{user}}}:profile"
