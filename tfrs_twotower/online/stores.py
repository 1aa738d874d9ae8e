"""Opens the stores and caches of users by an address."""

import os

from tfrs_twotower.errors import invalid
from tfrs_twotower.online import sqlite  # noqa: F401  (its scheme)
from tfrs_twotower.online.history_store import Retention
from tfrs_twotower.online.late import Late
from tfrs_twotower.online.store_kind import REDIS, SQLITE, StoreError, StoreKind, Stores, kind_at
from tfrs_twotower.online.vector_cache import LruVectorCache, UserVectorCache

__all__ = ["StoreKind", "Stores", "open_cache", "open_stores"]


class RedisStore(StoreKind):
    """`redis://HOST`: users and query vectors in a Redis server. The package redis is imported when one is opened."""

    schemes = REDIS

    @classmethod
    def stores(cls, address: str, retention: Retention, allow_loss: bool) -> Stores:
        """See `StoreKind.stores`."""
        from tfrs_twotower.online.redis_stores import RedisHistoryStore, RedisProfileStore

        history = RedisHistoryStore(address, retention, allow_loss=allow_loss)
        return Stores(history, RedisProfileStore(address), retention)

    @classmethod
    def cache(cls, address: str) -> UserVectorCache:
        """See `StoreKind.cache`."""
        from tfrs_twotower.online.redis_vector_cache import RedisVectorCache

        return RedisVectorCache(address)


def open_stores(
    address: str, retention: Retention = Retention(), allow_loss: bool = False, late: bool = False,
    existing: bool = False,
) -> Stores:
    """The `Stores` at `sqlite:PATH`, or at the URL of a Redis server: `redis://`, `rediss://` or `unix://`.

    Args:
      address: of the stores; a missing file is made. `module.Class:REST`, or the scheme of a `StoreKind` of your own,
        opens your store.
      retention: the `Retention` of the history store.
      allow_loss: True accepts a Redis that may lose acknowledged events.
      late: True also returns stores that are unavailable. They are opened when they answer, and each use before that
        raises `StoreUnavailable`.
      existing: True refuses a missing file, for callers that only read.

    Raises:
      StoreError: the address is none of these, or the store cannot be opened.
      MissingExtraError: the address is a Redis server's and redis is not installed.
    """
    found = kind_at(address)
    if found is None:
        raise StoreError(
            f"A store's address must be sqlite:PATH or the URL of a Redis server ({', '.join(REDIS)}), or name a store "
            f"of your own, module.Class:REST. Received: {address!r}. Write for example sqlite:store.db"
        )
    if existing and address.startswith(SQLITE) and not os.path.exists(path := address.removeprefix(SQLITE)):
        raise StoreError(invalid("STORE", "be there to be read", address, f"There is no file {path}: check the path. "
                                 "`twotower serve --store` and `twotower load` make one."))
    kind, rest = found
    if not late:
        return kind.stores(rest, retention, allow_loss)
    opening = Late(lambda: kind.stores(rest, retention, allow_loss))
    return Stores(opening.part("history"), opening.part("profiles"), retention)


def open_cache(address: str, late: bool = False) -> UserVectorCache:
    """The `UserVectorCache` of an address: a number of vectors to keep in this process, or a Redis server's URL.

    A `StoreKind` of your own is opened by its scheme or by `module.Class:REST`. `late`: as in `open_stores`.

    Raises:
      ConfigError: the number is below 1.
      StoreError: the address is neither, or nothing answers there.
      MissingExtraError: the address is a Redis server's and redis is not installed.
    """
    if address.isdecimal():
        return LruVectorCache(int(address))
    found = kind_at(address)
    if found is None:
        raise StoreError(
            f"A cache's address must be a number of vectors or the URL of a Redis server ({', '.join(REDIS)}). "
            f"Received: {address!r}. Write for example 100000"
        )
    kind, rest = found
    return Late(lambda: kind.cache(rest)).part() if late else kind.cache(rest)
