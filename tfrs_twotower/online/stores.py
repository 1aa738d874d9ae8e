"""What a server asks about its users, opened by an address."""

import dataclasses

from tfrs_twotower.online.address import REDIS, SQLITE
from tfrs_twotower.online.errors import StoreError
from tfrs_twotower.online.history_store import HistoryStore, Retention
from tfrs_twotower.online.profile_store import ProfileStore
from tfrs_twotower.online.sqlite_file import SqliteFile
from tfrs_twotower.online.sqlite_history import SqliteHistoryStore
from tfrs_twotower.online.sqlite_profiles import SqliteProfileStore
from tfrs_twotower.online.vector_cache import LruVectorCache, UserVectorCache


@dataclasses.dataclass(frozen=True)
class Stores:
    """A `HistoryStore` and a `ProfileStore` of the same users; `retention` is the history's."""

    history: HistoryStore
    profiles: ProfileStore
    retention: Retention

    def close(self) -> None:
        """Closes both."""
        self.profiles.close()
        self.history.close()


def open_stores(address: str, retention: Retention = Retention(), allow_loss: bool = False) -> Stores:
    """The `Stores` at `sqlite:PATH`, or at the URL of a Redis server: `redis://`, `rediss://` or `unix://`.

    Args:
      address: where they are; a file is made where there is none.
      retention: what the history store keeps.
      allow_loss: True accepts a Redis that may lose acknowledged events.

    Raises:
      StoreError: the address is none of these, or there is no store to be had.
      MissingExtraError: the address is a Redis server's and redis is not installed.
    """
    if address.startswith(SQLITE):
        file = SqliteFile(address.removeprefix(SQLITE))
        return Stores(SqliteHistoryStore(file, retention), SqliteProfileStore(file), retention)
    if address.startswith(REDIS):
        from tfrs_twotower.online.redis_history import RedisHistoryStore
        from tfrs_twotower.online.redis_profiles import RedisProfileStore

        history = RedisHistoryStore(address, retention, allow_loss=allow_loss)
        return Stores(history, RedisProfileStore(address), retention)
    raise StoreError(
        f"A store's address must be sqlite:PATH or the URL of a Redis server ({', '.join(REDIS)}). "
        f"Received: {address!r}. Write for example sqlite:store.db"
    )


def open_cache(address: str) -> UserVectorCache:
    """The `UserVectorCache` of an address: a number of vectors to keep in this process, or a Redis server's URL.

    Raises:
      ConfigError: the number is below 1.
      StoreError: the address is neither, or nothing answers there.
      MissingExtraError: the address is a Redis server's and redis is not installed.
    """
    if address.isdecimal():
        return LruVectorCache(int(address))
    if address.startswith(REDIS):
        from tfrs_twotower.online.redis_vector_cache import RedisVectorCache

        return RedisVectorCache(address)
    raise StoreError(
        f"A cache's address must be a number of vectors or the URL of a Redis server ({', '.join(REDIS)}). "
        f"Received: {address!r}. Write for example 100000"
    )
