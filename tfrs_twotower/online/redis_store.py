"""`redis://HOST`: users and query vectors in a Redis server. The package redis is imported when one is opened."""

from tfrs_twotower.online.address import REDIS
from tfrs_twotower.online.history_store import Retention
from tfrs_twotower.online.store_kind import StoreKind, Stores
from tfrs_twotower.online.vector_cache import UserVectorCache


class RedisStore(StoreKind):
    """Users and query vectors in a Redis server."""

    schemes = REDIS

    @classmethod
    def stores(cls, address: str, retention: Retention, allow_loss: bool) -> Stores:
        """See `StoreKind.stores`."""
        from tfrs_twotower.online.redis_history import RedisHistoryStore
        from tfrs_twotower.online.redis_profiles import RedisProfileStore

        history = RedisHistoryStore(address, retention, allow_loss=allow_loss)
        return Stores(history, RedisProfileStore(address), retention)

    @classmethod
    def cache(cls, address: str) -> UserVectorCache:
        """See `StoreKind.cache`."""
        from tfrs_twotower.online.redis_vector_cache import RedisVectorCache

        return RedisVectorCache(address)
